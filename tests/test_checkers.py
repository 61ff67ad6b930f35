"""The frozen set of bugs by which gradient checkers are compared (benchmarks/bugs)."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from few import few

import benchmarks.bugs
from benchmarks.bugs import arguments, bugs, digest, lines, right_op, shows
from benchmarks.bugs.__main__ import main
from benchmarks.bugs.cases import CASES
from benchmarks.bugs.right import RIGHT
from benchmarks.checkers import our_lines, page
from minillm.testing import GradientError, check_gradients

FROZEN = "d5321ddee2c91b878cb7239e58a305392da966a87daf5ac708560a8fb2562055"
BUGS = bugs()


def test_the_set_is_as_it_was_frozen():
    assert len(BUGS) >= 300
    assert len(set(map(str, BUGS))) == len(BUGS)
    assert digest() == FROZEN


def test_every_bug_shows_at_its_inputs():
    assert [str(bug) for bug in BUGS if not shows(bug, seed=0)] == []


@pytest.mark.parametrize("op", CASES)
def test_the_right_ops_are_right(op):
    check_gradients(right_op(op), *arguments(op, 0), rng=np.random.default_rng(1))


@np.errstate(all="ignore")
def refused(op, args, seed):
    try:
        check_gradients(op, *args, rng=np.random.default_rng(seed))
    except (GradientError, TypeError):  # it takes no float32
        return True
    return False


@pytest.mark.parametrize("first", few([7, 0, 14, 21], kept=1))
def test_our_checker_finds_a_sample(first):
    """Of each op and each kind of bug."""
    sample = BUGS[first::28]
    passed = [bug for bug in sample if not refused(bug.wrong_op(), arguments(bug.op, 0), 1)]
    assert [str(bug) for bug in passed] == []


def test_our_lines_are_those_of_the_bugs():
    results = lines.scored(our_lines, BUGS[::70], seeds=1)
    named = {bug["bug"]: bug["verdict"] for bug in results["bugs"]}
    assert named == dict.fromkeys(map(str, BUGS[::70]), lines.ONE)
    assert not any(results["accused"].values())


SATURATED = ["softmax of scores up to 100", "a sigmoid at 10 to 30"]  # 14 alarms in the first run


@pytest.mark.parametrize("what", RIGHT)
def test_difficult_right_ops_draw_no_false_alarm(what):
    for seed in range(5000, 5100 if what in SATURATED else 5005):
        op, args = RIGHT[what](np.random.default_rng(seed))
        of_float32 = {a.dtype for a in args if a.dtype.kind == "f"} == {np.dtype(np.float32)}
        assert of_float32 == ("float32" in what)
        assert refused(op, args, (seed, 1)) == of_float32


@pytest.mark.deep
@pytest.mark.parametrize("what", SATURATED)
def test_saturated_ops_draw_no_false_alarm_at_many_seeds(what):
    for seed in range(6000, 7500):
        op, args = RIGHT[what](np.random.default_rng(seed))
        assert not refused(op, args, (seed, 1))


def test_the_page_is_that_of_the_kept_run():
    outputs = Path(__file__).parents[1] / "docs/outputs"
    results = json.loads((outputs / "checkers.json").read_text())
    assert page(results) + "\n" == (outputs / "checkers.md").read_text()
    assert results["bugs"] == len(BUGS)
    assert list(results["right"]) == list(RIGHT)


CHECK = """
import inspect

import numpy as np


def check(op, args, seed):
    outputs, backward = op(*args)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    gradients = backward(*(np.ones(np.shape(y)) for y in outputs))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    assert any(np.any(gradient) for gradient in gradients)


def locate(op, args, seed):
    file = op.__code__.co_filename
    return [(file, 1, len(inspect.getsource(op).splitlines()))] if ", line " in file else None
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mine.py:check"], r"\| check \| 1.4 % \| (.*\n)*\| linear in float32 \| "),  # zeros
        (["mine.py:locate", "--lines"], r"\| all \| 70 \| 100 % (.*\n)*Right ops accused: 0 in 57"),
    ],
)
def test_the_set_stands_alone(arguments, expected, tmp_path):
    """A copy of the folder scores a checker without the package and without the repository."""
    shutil.copytree(Path(benchmarks.bugs.__file__).parent, tmp_path / "bugs")
    (tmp_path / "mine.py").write_text(CHECK)
    program = [sys.executable, "-P", "-c", ALONE, *arguments, "--quick"]
    result = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.search(expected, result.stdout)
    assert re.search(r"\| mutant \| \d\d \| ", result.stdout)


ALONE = """
import runpy, sys
sys.path.insert(0, ".")
sys.modules["minillm"] = None
runpy.run_module("bugs", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing.py:check", "nothing.py: there is no such file"),
        ("math:check", "expected a function check, found none"),
        ("no_module:check", "No module named 'no_module'"),
    ],
)
def test_what_is_no_checker_gets_a_line(target, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bugs", target])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_bug_has_its_source_and_its_inputs():
    bug = next(bug for bug in BUGS if bug.what == "dW by 0.05 %")
    assert bug.op == "linear"
    assert "* 1.0005" in bug.text()
    assert bug.shows(seed=0)
    x, W, b = bug.arguments(seed=0)
    np.testing.assert_array_equal(bug.right_op()(x, W, b)[0], bug.wrong_op()(x, W, b)[0])
