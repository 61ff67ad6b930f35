"""Every exercise accepts its right answer, and gives each wrong one the hint that fits."""

import itertools
import re
import runpy
from pathlib import Path

import pytest

from minillm.cli import main
from minillm.exercises import desk, exercises
from minillm.exercises.answering import cases, reports
from minillm.testing import lines

from .__main__ import main as print_solutions
from .answers import ANSWERS

FIND = [exercise for exercise in exercises().values() if exercise.bugs]
WRONG = [(answer, *wrong) for answer in ANSWERS for wrong in answer.wrong]
HERE = Path(__file__).parents[2]
locate = lines.locate


@pytest.fixture(autouse=True)
def no_line_is_sought(monkeypatch):
    """It would take a tenth of a second or more for each of several hundred wrong answers."""
    verdict = lines.Verdict([], "no line is named: not asked")
    monkeypatch.setattr(lines, "locate", lambda *_, **__: verdict)


def checked(tmp_path, name: str, source: str) -> tuple[bool, str]:
    """Write an answer where the reader would, and judge it twice, for both hints.

    Only here the answer runs in this process, which is faster, and once for both verdicts.
    """
    exercise = exercises()[name]
    path = desk.write(exercise, tmp_path)
    path.write_text(path.read_text().replace(exercise.source, source))
    function, entry = runpy.run_path(str(path))[exercise.function], desk.new_entry()
    first, second = itertools.tee(reports(exercise, function, cases(exercise)))
    desk.verdict(exercise, (report for report in first), entry)
    return desk.verdict(exercise, (report for report in second), entry)


def test_each_exercise_has_an_answer_and_several_mistakes():
    named = [answer.exercise for answer in ANSWERS]
    assert sorted([*named, *(exercise.name for exercise in FIND)]) == sorted(exercises())
    assert all(len(answer.wrong) >= 2 for answer in ANSWERS)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.exercise)
def test_the_right_answer_is_accepted_and_an_empty_hole_is_told(tmp_path, answer):
    source = exercises()[answer.exercise].source
    right, report = checked(tmp_path / "filled", answer.exercise, answer.filled(source))
    assert right, report
    right, report = checked(tmp_path / "empty", answer.exercise, source)
    assert not right
    assert "the hole is not filled" in report


@pytest.mark.parametrize(
    ("answer", "hole", "text", "hint"), WRONG, ids=lambda value: getattr(value, "exercise", None)
)
def test_a_wrong_answer_gets_the_hint_that_fits(tmp_path, answer, hole, text, hint):
    source = answer.filled(exercises()[answer.exercise].source, hole, text)
    right, report = checked(tmp_path, answer.exercise, source)
    assert not right
    assert hint in report


@pytest.mark.parametrize(
    ("name", "hole", "text", "line"),
    [
        ("attention-backward", 3, "dscores @ k", 26),
        ("linear", 1, "x.T @ dy / len(x)", 20),
        ("layer-norm", 2, "dy.mean(axis=0)", 22),
    ],
)
def test_a_wrong_gradient_names_the_line_and_not_what_is_right(
    tmp_path, monkeypatch, name, hole, text, line
):
    monkeypatch.setattr(lines, "locate", lambda *fault, fixes, **_: locate(*fault, fixes=fixes))
    answer = next(answer for answer in ANSWERS if answer.exercise == name)
    _, report = checked(tmp_path, name, answer.filled(exercises()[name].source, hole, text))
    assert re.search(rf"^line {line}, `\w+ = {re.escape(text)}`: with", report, re.MULTILINE)
    assert answer.right[hole] not in report.replace(text, "")


def test_the_solution_is_where_it_says():
    for name in {answer.exercise for answer in ANSWERS}:
        file, what = re.match(r"([^:,]+)[:,] (.*)", exercises()[name].solution).groups()
        assert what.split(".")[-1] in (HERE / file).read_text(), name


def test_the_command_writes_checks_and_lists(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["exercise", "linear"]) == 0
    assert main(["exercise", "linear"]) == 2  # a file is never overwritten
    assert main(["exercise", "linear", "--check"]) == 1  # an empty hole is no attempt
    assert main(["exercise", "linear", "--solution"]) == 2
    assert "expected an attempt before the solution, found none" in capsys.readouterr().err
    assert main(["exercise", "liner"]) == 2
    path = tmp_path / "exercises/linear.py"
    assert "Level *, about 15 minutes." in path.read_text()
    answer = next(answer for answer in ANSWERS if answer.exercise == "linear")
    source, empty = exercises()["linear"].source, path.read_text()
    path.write_text(empty.replace(source, answer.filled(source, 0, "dy @ W")))
    assert main(["exercise", "linear", "--check"]) == 1
    capsys.readouterr()
    assert main(["exercise", "linear", "--solution"]) == 0
    assert capsys.readouterr().out == "minillm/ops/linear.py: linear\n"
    path.write_text(empty.replace(source, answer.filled(source)))
    assert main(["exercise", "linear", "--check"]) == 0
    assert capsys.readouterr().out == "linear: right, in 3 cases\n"
    assert main(["exercise"]) == 0
    assert re.search(r"\[x\] linear +\* +15 min  the three", capsys.readouterr().out)


def test_the_solutions_for_instructors_contain_every_exercise(capsys):
    print_solutions()
    printed = capsys.readouterr().out
    for name, exercise in exercises().items():
        assert f"## Chapter {exercise.chapter}, {name}: " in printed
    assert "dx = dy @ W.T\n" in printed
    assert "= ...\n" not in printed


def test_the_size_of_gpt2_small():
    assert exercises()["gpt-size"].reference(12, 768, 50257, 1024)[0] == 124_439_808


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
        ("linear", 1, "x @ dy", exercises()["linear"].hints["dW"][1]),
        ("tiled-product", 0, "column * row", "outer products"),
    ):
        source = answers[name].filled(exercises()[name].source, hole, text)
        right, report = checked(tmp_path, name, source)
        assert not right
        assert "ValueError" in report
        assert "the shapes are" in report
        assert hint in report


def test_every_error_in_the_answer_gets_a_hint(tmp_path):
    """The names of each exercise; the other kinds of errors on one, for they take one path."""
    texts = {
        "KeyError": "{}[0]",
        "IndexError": "[][0]",
        "TypeError": "None + 1",
        "NameError": "nix",
    }
    for answer in ANSWERS:
        for error in ["NameError"] if answer.exercise != "linear" else texts:
            for hole in range(len(answer.right)):
                source = exercises()[answer.exercise].source
                source = answer.filled(source, hole, texts[error])
                right, report = checked(tmp_path / f"{error}{hole}", answer.exercise, source)
                assert not right
                assert error in report
                assert "hint: " in report
                assert ("; the names here are " in report) == (error == "NameError")


def test_an_error_in_the_answer_is_told_with_its_line(tmp_path):
    source = exercises()["square"].source.replace("dx = ...", "dx = dy @ x @ unknown")
    _, report = checked(tmp_path, "square", source)
    assert re.search(r"line \d+, dx = dy @ x @ unknown: \w+Error", report)
