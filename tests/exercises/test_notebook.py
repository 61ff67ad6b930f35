"""Answers that are written in a cell of a notebook."""

import linecache

import pytest

from minillm.errors import InputError
from minillm.exercises import check, exercises


@pytest.fixture
def cell(monkeypatch, capsys):
    """Run the source of a cell, which the traceback module knows as in a notebook."""
    monkeypatch.setattr("minillm.exercises.notebook._entries", {})

    def run(source):
        entry = (len(source), None, source.splitlines(keepends=True), "<cell>")
        monkeypatch.setitem(linecache.cache, "<cell>", entry)
        exec(compile(source, "<cell>", "exec"), {"check": check})
        return capsys.readouterr().out

    return run


def test_a_right_answer_is_told(cell):
    answer = "def square(x):\n    return x**2, lambda dy: 2 * x * dy\ncheck(square)"
    assert cell(answer) == "square: right, in 1 case\n"


def test_a_wrong_answer_gets_a_hint_and_then_the_second(cell):
    answer = "def square(x):\n    return x**2, lambda dy: x * dy\ncheck(square)"
    first, second = cell(answer), cell(answer)
    hints = exercises()["square"].hints["dx"]
    assert first.startswith("square: the gradient dx is wrong")
    assert "this fits a missing factor 2" in first
    assert first.endswith(f"hint: {hints[0]}\n(check again for a second hint)\n")
    assert second.endswith(f"hint: {hints[0]}\nhint: {hints[1]}\n")


def test_an_error_is_told_with_its_line(cell):
    report = cell("def square(x):\n    y = x @ x\n    return y, None\ncheck(square)")
    assert report.startswith("square: line 2, y = x @ x: ValueError: ")
    assert "the shapes are x (3, 4)" in report
    report = cell("def square(x):\n    y = 2 * ...\n    return y, None\ncheck(square)")
    assert report.startswith("square: line 2, y = 2 * ...: TypeError: ")
    assert report.endswith("; the hole is not filled\n")


def test_ctrl_c_passes_through(cell):
    with pytest.raises(KeyboardInterrupt):
        cell("def square(x):\n    raise KeyboardInterrupt\ncheck(square)")


def test_a_function_of_no_exercise_is_refused(cell):
    with pytest.raises(InputError, match="the function of an exercise, found 'sqare'"):
        cell("def sqare(x):\n    pass\ncheck(sqare)")
    with pytest.raises(InputError, match="the function of an exercise, found 3"):
        cell("check(3)")


def test_each_function_belongs_to_one_exercise():
    functions = [exercise.function for exercise in exercises().values()]
    assert len(set(functions)) == len(functions)
