"""Each chapter is a notebook with exercises; `make book-full` runs all cells."""

import json
import re
import runpy
import sys
from pathlib import Path

import nbformat
import pytest

from minillm.exercises import exercises

DOCS = Path(__file__).parents[2] / "docs"
CHAPTERS = sorted((DOCS / "chapters").glob("*.md"))
sys.path.insert(0, str(DOCS / "machinery"))

from notebooks import notebook  # noqa: E402  (the line above says where it is)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_exercise_is_a_cell_that_checks_itself(path, tmp_path, capsys):
    sources = [cell.source for cell in notebook(path).cells if cell.cell_type == "code"]
    number = path.stem[:2]  # the halves of a chapter, such as 01 and 01b, share its exercises
    halves = [half for half in CHAPTERS if half.stem.startswith(number)]
    own = [each for each in exercises().values() if each.chapter == int(number)]
    text = "".join(half.read_text() for half in halves)
    assert all(text.count(f"`minillm exercise {each.name}`") == 1 for each in own)
    own = [each for each in own if f"`minillm exercise {each.name}`" in path.read_text()]
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
