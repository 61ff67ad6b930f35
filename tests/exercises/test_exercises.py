"""Every exercise accepts its right answer, and gives each wrong one the hint that fits."""

import importlib
import re
import runpy
from pathlib import Path

import pytest

from minillm.cli import main
from minillm.exercises import desk, exercises
from minillm.exercises.answering import cases, reports

from .answers import Answer

FILES = sorted(Path(__file__).parent.glob("chapter*.py"))
ANSWERS: list[Answer] = [
    answer
    for file in FILES
    for answer in importlib.import_module(f".{file.stem}", __package__).ANSWERS
]
WRONG = [(answer, *wrong) for answer in ANSWERS for wrong in answer.wrong]
HERE = Path(__file__).parents[2]


def checked(tmp_path, name: str, source: str) -> tuple[bool, str]:
    """Write an answer where the reader would, and judge it twice, for both hints.

    Only here the answer runs in this process, which is faster.
    """
    exercise = exercises()[name]
    path = desk.write(exercise, tmp_path)
    path.write_text(path.read_text().replace(exercise.source, source))
    function, entry = runpy.run_path(str(path))[exercise.function], desk.new_entry()
    drawn = cases(exercise)
    desk.verdict(exercise, reports(exercise, function, drawn), entry)
    return desk.verdict(exercise, reports(exercise, function, drawn), entry)


def test_each_exercise_has_an_answer_and_several_mistakes():
    assert sorted(answer.exercise for answer in ANSWERS) == sorted(exercises())
    assert all(len(answer.wrong) >= 2 for answer in ANSWERS)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.exercise)
def test_the_right_answer_is_accepted(tmp_path, answer):
    right, report = checked(
        tmp_path, answer.exercise, answer.filled(exercises()[answer.exercise].source)
    )
    assert right, report


@pytest.mark.parametrize(
    ("answer", "hole", "text", "hint"), WRONG, ids=lambda value: getattr(value, "exercise", None)
)
def test_a_wrong_answer_gets_the_hint_that_fits(tmp_path, answer, hole, text, hint):
    source = answer.filled(exercises()[answer.exercise].source, hole, text)
    right, report = checked(tmp_path, answer.exercise, source)
    assert not right
    assert hint in report


@pytest.mark.parametrize("name", exercises())
def test_an_empty_hole_is_told(tmp_path, name):
    right, report = checked(tmp_path, name, exercises()[name].source)
    assert not right
    assert "the hole is not filled" in report


@pytest.mark.parametrize("name", exercises())
def test_the_solution_is_where_it_says(name):
    place = exercises()[name].solution
    file, _, what = re.match(r"([^:,]+)([:,]) (.*)", place).groups()
    source = (HERE / file).read_text()
    assert what.split(".")[-1] in source


def test_each_exercise_stands_in_its_chapter():
    for name, exercise in exercises().items():
        pages = (HERE / "docs/chapters").glob(f"{exercise.chapter:02}*.md")
        named = [page for page in pages if f"`minillm exercise {name}`" in page.read_text()]
        assert len(named) == 1, name


def test_the_command_writes_checks_and_lists(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["exercise", "linear"]) == 0
    assert main(["exercise", "linear"]) == 2  # a file is never overwritten
    assert main(["exercise", "linear", "--check"]) == 1
    assert main(["exercise", "linear", "--solution"]) == 0
    assert main(["exercise", "liner"]) == 2
    path = tmp_path / "exercises/linear.py"
    answer = next(answer for answer in ANSWERS if answer.exercise == "linear")
    source = exercises()["linear"].source
    path.write_text(path.read_text().replace(source, answer.filled(source)))
    capsys.readouterr()
    assert main(["exercise", "linear", "--check"]) == 0
    assert capsys.readouterr().out == "linear: right, in 3 cases\n"
    assert main(["exercise"]) == 0
    assert "[x] linear" in capsys.readouterr().out


def test_a_long_exception_is_told_on_one_short_line(tmp_path):
    raises = "raise RuntimeError('\\x1b[2J' + 'a\\n' * 10000)"
    source = exercises()["square"].source.replace("dx = ...", raises)
    _, report = checked(tmp_path, "square", source)
    assert r"RuntimeError: \x1b[2Ja a a" in report
    assert "\x1b" not in report
    assert max(map(len, report.splitlines())) < 500


def test_shapes_that_do_not_fit_get_the_hint_of_what_the_line_computes(tmp_path):
    answers = {answer.exercise: answer for answer in ANSWERS}
    for name, hole, text, hint in (
        ("gap-loss", 1, "x.T @ dlogits", exercises()["gap-loss"].hints["dW"][1]),
        ("tiled-product", 0, "column * row", "outer products"),
    ):
        source = answers[name].filled(exercises()[name].source, hole, text)
        right, report = checked(tmp_path, name, source)
        assert not right
        assert "ValueError" in report
        assert "the shapes are" in report
        assert hint in report


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.exercise)
@pytest.mark.parametrize("error", ["KeyError", "IndexError", "TypeError", "NameError"])
def test_every_error_in_the_answer_gets_a_hint(tmp_path, answer, error):
    text = {"KeyError": "{}[0]", "IndexError": "[][0]", "TypeError": "None + 1", "NameError": "nix"}
    for hole in range(len(answer.right)):
        source = answer.filled(exercises()[answer.exercise].source, hole, text[error])
        right, report = checked(tmp_path / str(hole), answer.exercise, source)
        assert not right
        assert error in report
        assert "hint: " in report
        assert ("; the names here are " in report) == (error == "NameError")


def test_an_error_in_the_answer_is_told_with_its_line(tmp_path):
    source = exercises()["square"].source.replace("dx = ...", "dx = dy @ x @ unknown")
    _, report = checked(tmp_path, "square", source)
    assert re.search(r"line \d+, dx = dy @ x @ unknown: \w+Error", report)
