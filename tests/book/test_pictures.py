"""Each picture of the book has a script, which draws it again."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parents[2]
PICTURES = HERE / "docs/pictures"
SVGS = sorted(PICTURES.glob("*.svg"))
SVG = "http://www.w3.org/2000/svg"
LONGEST = 60  # seconds: what takes longer is drawn by hand, after a change

# What NumPy computes or matplotlib draws takes long, and may differ with their versions.
COMPUTES = re.compile(r"^(?:from|import) (?:minillm|numpy|plotting)\b|\bbenchmarks\.", re.MULTILINE)
PLOTS = [svg for svg in SVGS if COMPUTES.search(svg.with_suffix(".py").read_text())]
DIAGRAMS = [svg for svg in SVGS if svg not in PLOTS]


def test_each_script_has_a_picture():
    """A script is what saves under its own name; the others are helpers."""
    for script in PICTURES.glob("*.py"):
        if "save(__file__)" in script.read_text() or ", __file__)" in script.read_text():
            assert script.with_suffix(".svg").exists(), script.name


@pytest.mark.parametrize("svg", DIAGRAMS, ids=lambda path: path.stem)
def test_a_diagram_has_the_same_bytes_everywhere(svg, tmp_path, monkeypatch):
    script = svg.with_suffix(".py")
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
    monkeypatch.syspath_prepend(PICTURES)
    runpy.run_path(str(script), run_name="__main__")
    found = (tmp_path / svg.name).read_bytes()
    assert found == svg.read_bytes(), f"run docs/pictures/{svg.stem}.py again"


def drawn(svg: Path, folder: Path) -> bytes:
    """Run the script of a picture as its own program, and return what it draws into a folder."""
    environment = {**os.environ, "MPLBACKEND": "svg", "PYTHONDONTWRITEBYTECODE": "1"}
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [sys.executable, "-W", "error", str(svg.with_suffix(".py")), str(folder)]
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"takes longer than {LONGEST} seconds")
    assert result.returncode == 0, result.stderr[-2000:]
    return (folder / svg.name).read_bytes()


def test_symbols_are_typeset():
    """As W with a small x below, not as W_x, and so with powers."""
    for svg in SVGS:
        root = ElementTree.parse(svg)
        texts = ["|".join(text.itertext()) for text in root.iter(f"{{{SVG}}}text")]
        assert texts
        wrong = [text for text in texts if re.search(r"\w_\w|\^|[₀-₉ᵀ²]|\b[ghkmsvx]\d", text)]
        assert wrong == [], svg.name


@pytest.mark.deep
@pytest.mark.parametrize("svg", PLOTS, ids=lambda path: path.stem)
def test_a_plot_is_drawn_and_is_an_svg(svg, tmp_path):
    root = ElementTree.fromstring(drawn(svg, tmp_path))
    assert root.tag.endswith("svg")
    assert len(list(root.iter())) > 5
