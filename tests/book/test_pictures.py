"""Each picture of the book has a script, which draws it again."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parents[2]
PICTURES = HERE / "docs/pictures"
SVGS = sorted(PICTURES.glob("*.svg"))
LONGEST = 60  # seconds: what takes longer is drawn by hand, after a change

# Runs a script as its own program, and tells what it has imported.
DRIVER = """
import runpy, sys
script, folder = sys.argv[1:]
sys.argv = [script, folder]
sys.path.insert(0, script.rpartition("/")[0])
runpy.run_path(script, run_name="__main__")
print("imported", *sys.modules)
"""


@pytest.mark.parametrize("svg", SVGS, ids=lambda path: path.stem)
def test_each_picture_has_a_script(svg):
    assert svg.with_suffix(".py").exists()


def test_each_script_has_a_picture():
    """A script is what saves under its own name; the others are helpers."""
    for script in PICTURES.glob("*.py"):
        if "save(__file__)" in script.read_text() or ", __file__)" in script.read_text():
            assert script.with_suffix(".svg").exists(), script.name


@pytest.mark.parametrize("svg", SVGS, ids=lambda path: path.stem)
def test_the_script_draws_the_picture(svg, tmp_path):
    """A diagram has the same bytes everywhere.

    What NumPy computes or matplotlib draws may differ with their versions: it has to be drawn, and
    to be an SVG.
    """
    command = [sys.executable, "-W", "error", "-c", DRIVER]
    command += [str(svg.with_suffix(".py")), str(tmp_path)]
    environment = {**os.environ, "MPLBACKEND": "svg", "PYTHONDONTWRITEBYTECODE": "1"}
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"takes longer than {LONGEST} seconds")
    assert result.returncode == 0, result.stderr[-2000:]
    drawn = tmp_path / svg.name
    if {"numpy", "matplotlib"} & set(result.stdout.rpartition("imported ")[2].split()):
        root = ElementTree.fromstring(drawn.read_text())
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 5
    else:
        assert drawn.read_bytes() == svg.read_bytes(), f"run docs/pictures/{svg.stem}.py again"
