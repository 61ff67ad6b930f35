"""Each chapter is a notebook, and its cells run; so do those of appendices."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from minillm.exercises import exercises

DOCS = Path(__file__).parents[2] / "docs"
CHAPTERS = sorted((DOCS / "chapters").glob("*.md"))
APPENDICES = [
    path for path in sorted((DOCS / "appendices").glob("*.md")) if "{code-cell}" in path.read_text()
]
sys.path.insert(0, str(DOCS / "machinery"))

from notebooks import notebook  # noqa: E402  (the line above says where it is)

SHELL = (
    "import subprocess, sys\ndef shell(line):\n    subprocess.run(line, shell=True, check=True)\n"
)


def program(path: Path) -> str:
    """The cells of a chapter as one program, with its commands run by a shell."""
    cells = [cell for cell in notebook(path).cells if cell.cell_type == "code"]
    lines = "\n\n".join(cell.source for cell in cells).splitlines()
    return SHELL + "\n".join(re.sub(r"^!(.*)$", lambda m: f"shell({m[1]!r})", l) for l in lines)


@pytest.mark.deep  # `make book-full` runs them, too
@pytest.mark.parametrize("path", CHAPTERS + APPENDICES, ids=lambda path: path.stem)
def test_the_cells_run(path, tmp_path):
    """As readers run them: in a process and a folder of their own."""
    (tmp_path / "chapter.py").write_text(program(path))
    bin_ = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "MPLBACKEND": "agg"}
    result = subprocess.run(
        [sys.executable, "-W", "error", "chapter.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_exercise_is_a_cell_that_checks_itself(path, tmp_path, capsys):
    sources = [cell.source for cell in notebook(path).cells if cell.cell_type == "code"]
    own = [each for each in exercises().values() if each.chapter == int(path.stem[:2])]
    assert own
    for exercise in own:
        (cell,) = (source for source in sources if exercise.source.rstrip() in source)
        (tmp_path / "cell.py").write_text(cell)
        runpy.run_path(str(tmp_path / "cell.py"))
        assert re.match(f"{exercise.name}: .*the hole is not filled", capsys.readouterr().out)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_notebook_is_valid_and_needs_no_directive(path):
    book = notebook(path)
    nbformat.validate(book)
    assert "{literalinclude}" not in json.dumps(book)
    assert not re.search(r"^[`:]{3,}\{", "\n".join(cell.source for cell in book.cells), re.M)
