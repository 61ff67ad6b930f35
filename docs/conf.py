"""The configuration of Sphinx for the book: see CONTRIBUTING.md, "The book"."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "book"
sys.path.insert(0, str(HERE / "machinery"))
import looks  # noqa: E402  (the line above says where they are)
import notebooks  # noqa: E402

project = "minillm"
author = "the authors of minillm"
extensions = [
    "myst_parser",
    "sphinx_design",
    "sphinx_exercise",
    "sphinxcontrib.bibtex",
    "cells",
    "exercise_boxes",
    "formulas",
    "numbering",
    "pictures",
    "searching",
    "terms",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "machinery", "outputs", "pictures"]
nitpicky = True

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]

formulas_folder = str(BUILD / "static")

html_theme = "furo"
html_title = "minillm, the book"
(BUILD / "static").mkdir(parents=True, exist_ok=True)
html_static_path = ["_static", str(BUILD / "static")]
html_css_files = ["book.css"]
html_js_files = ["book.js", "interactive.js"]
html_extra_path = [str(BUILD / "extra")]
html_show_copyright = html_show_sphinx = False
html_copy_source = False

notebooks.write_all(HERE / "chapters", BUILD / "extra" / "notebooks")
looks.write_all(BUILD / "extra" / "look")
