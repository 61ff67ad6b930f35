"""The search of book and manual: all sections and terms as a script, which works from disk, too.

Sphinx's own search asks for each page that it has found, which a browser forbids for files, and it
leads to the top of a page.  docs/_static/search.js looks through the sections instead.
"""

import json
from itertools import pairwise
from pathlib import Path

from built import Element, article, contents


def entries(folder: Path, page: str) -> tuple[str, list[tuple[str, str, str]]]:
    """The title of a page, and its sections and terms: the id, the heading and the text."""
    _, root = article(folder / page)
    found: list[tuple[str, str, str]] = []

    def read(section: Element) -> None:
        heading = next(e for e in section.elements() if e.tag in ("h1", "h2", "h3", "h4"))
        parts = [e for e in section.elements() if e.tag == "section"]
        glossaries = [e for e in section.elements() if "glossary" in e.classes]
        rest = [e for e in section.elements() if e not in (heading, *parts, *glossaries)]
        add(section, heading, " ".join(e.text() for e in rest))
        for terms in glossaries:
            for term, meaning in pairwise(terms.elements()):
                if (term.tag, meaning.tag) == ("dt", "dd"):
                    add(term, term, meaning.text())
        for part in parts:
            read(part)

    def add(place: Element, heading: Element, text: str) -> None:
        words = (" ".join(part.split()) for part in (heading.text(), text))
        found.append((place.attributes["id"], *words))

    read(next(e for e in root.all() if e.tag == "section"))
    return found[0][1], found


def write_sections(app, error) -> None:
    """Write what search.js looks through, when the pages are built."""
    if error or app.builder.name != "html":
        return
    folder = Path(app.outdir)
    pages = [
        "index.html",
        *(page for _, group in contents(folder / "index.html") for page in group),
    ]
    found = [(page, *entries(folder, page)) for page in pages]
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    (folder / "_static" / "sections.js").write_text(f"const SECTIONS = {text};\n", encoding="utf-8")


def setup(app):
    app.connect("build-finished", write_sections)
    return {"parallel_read_safe": True}
