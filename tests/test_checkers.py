"""The frozen set of bugs by which gradient checkers are compared (benchmarks/bugs)."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bugs import arguments, bugs, digest, right_op, shows
from benchmarks.bugs.cases import CASES
from benchmarks.bugs.right import RIGHT
from benchmarks.checkers import page
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
def found(bug):
    try:
        check_gradients(bug.wrong_op(), *arguments(bug.op, 0), rng=np.random.default_rng(1))
    except (GradientError, TypeError):
        return True
    return False


@pytest.mark.deep
def test_our_checker_finds_a_sample():
    sample = np.random.default_rng(0).choice(len(BUGS), 30, replace=False)
    assert [str(BUGS[k]) for k in sample if not found(BUGS[k])] == []


def test_the_difficult_right_ops_draw_what_they_say():
    for what, draw in RIGHT.items():
        op, args = draw(np.random.default_rng(0))
        dtype = np.float32 if "float32" in what else np.float64
        floats = [a for a in args if a.dtype.kind == "f"]
        assert all(a.dtype == dtype for a in floats)
        with np.errstate(all="ignore"):
            op(*args)


def test_the_page_is_that_of_the_kept_run():
    outputs = Path(__file__).parents[1] / "docs/outputs"
    results = json.loads((outputs / "checkers.json").read_text())
    assert page(results) + "\n" == (outputs / "checkers.md").read_text()
    assert results["bugs"] == len(BUGS)
    assert list(results["right"]) == list(RIGHT)
