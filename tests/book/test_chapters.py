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

from exercise_boxes import with_statements  # noqa: E402  (the line above says where it is)
from notebooks import EXERCISE, notebook  # noqa: E402


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_exercise_is_a_cell_that_checks_itself(path, tmp_path, capsys):
    sources = [cell.source for cell in notebook(path).cells if cell.cell_type == "code"]
    own = EXERCISE.findall(path.read_text())
    assert own
    for exercise in map(exercises().get, own):
        (cell,) = (source for source in sources if exercise.source.rstrip() in source)
        (tmp_path / "cell.py").write_text(cell)
        runpy.run_path(str(tmp_path / "cell.py"))
        failure = "(is wrong at|expected)" if exercise.bugs else "the hole is not filled"
        assert re.match(f"{exercise.name}: .*{failure}", capsys.readouterr().out)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_box_of_an_exercise_has_its_statement_level_and_file(path):
    boxes = with_statements(path.read_text())
    for exercise in map(exercises().get, EXERCISE.findall(path.read_text())):
        assert exercise.statement in boxes
        assert f"about {exercise.minutes} minutes, in `exercises/{exercise.file}`" in boxes


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_notebook_is_valid_and_needs_no_directive(path):
    book = notebook(path)
    nbformat.validate(book)
    assert "{literalinclude}" not in json.dumps(book)
    assert not re.search(r"^[`:]{3,}\{", "\n".join(cell.source for cell in book.cells), re.M)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_exercises_end_with_a_derivation_and_an_experiment_whose_answers_fold(path):
    (end,) = re.findall(r"^## Exercises$.*(?=^## Sources$)", path.read_text(), re.M | re.S)
    titles = re.findall(r"^```\{(?:admonition|dropdown)\} ([\w ]+)", end, re.M)
    assert titles == ["On paper", "Solution", "Experiment", "What to expect"]
    for title in ("Solution", "What to expect"):
        assert f"<details><summary>{title}</summary>" in notebook(path).cells[-1].source


def test_each_exercise_is_in_its_chapter():
    named = [(int(p.stem[:2]), name) for p in CHAPTERS for name in EXERCISE.findall(p.read_text())]
    assert sorted(named) == sorted((each.chapter, each.name) for each in exercises().values())
