"""minillm gradcheck on a reader's own file."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from few import few

from minillm.cli import main
from minillm.testing import arrays, check_gradients

FILE = '''"""Ops of a reader."""

import os
import sys
import threading
import time

import numpy as np
from helper import rows


def affine(x, W, b):
    """y = x W + b.

    x (..., I), W (I, O), b (O,) -> y (..., O).  b (the bias) is a row.
    """

    def backward(dy):
        return dy @ W.T, rows(x).T @ rows(dy), rows(dy).sum(axis=0)

    return x @ W + b, backward


def wrong(x, W, b):
    """As affine, x (B, I), W (I, O), b (O,)."""
    y, backward = affine(x, W, b)
    return y, lambda dy: (*backward(dy)[:2], 2 * backward(dy)[2])


def table(ids, E):
    """ids (B, T), E (V, D)"""

    def backward(dy):
        dE = np.zeros_like(E)
        np.add.at(dE, ids, dy)
        return dE

    return E[ids], backward


def leaves_a_thread(x):
    """x (B, I)"""
    threading.Thread(target=time.sleep, args=(1000,)).start()
    sys.stdout.close()
    os.chdir("/")
    return 2 * x, lambda dy: 2 * dy


def has_kinks(x):
    """x (B, I)"""
    if any(np.any(abs(x - kink) < 0.04) for kink in (-0.5, 0, 0.5)):
        raise ValueError("a kink")
    return abs(x), lambda dy: np.sign(x) * dy


def has_a_bug(x):
    """x (B, I)"""
    return x @ x, lambda dy: dy
'''


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(FILE)
    (folder / "helper.py").write_text("def rows(x):\n    return x.reshape(-1, x.shape[-1])\n")
    yield f"{folder / 'mine.py'}"
    sys.modules.pop("helper", None)


@pytest.mark.parametrize(("kinks", "status"), [(["--kinks", "-0.5", "0", "0.5"], 0), ([], 2)])
def test_arguments_keep_away_from_kinks(mine, kinks, status):
    assert main(["gradcheck", f"{mine}:has_kinks", "--seeds", "20", *kinks]) == status


def test_the_worst_error_by_each_argument_is_printed(mine, capsys):
    before = sys.path[:]
    assert main(["gradcheck", f"{mine}:table", "--shapes", "ids: B T < V, V D"]) == 0
    assert sys.path == before
    first, row, last = capsys.readouterr().out.splitlines()
    assert first == f'{mine}:table on "ids: B T < V, V D", worst relative error'
    assert row.split()[:2] == ["by", "E"]
    assert 0 <= float(row.split()[2]) < 1e-6
    assert last == "every gradient agrees within 1e-06 on 5 random cases"


def test_a_wrong_gradient_is_told_with_the_call_that_repeats_it(mine, capsys):
    assert main(["gradcheck", f"{mine}:affine", f"{mine}:wrong", "--seeds", "2"]) == 1
    printed = capsys.readouterr().out
    assert f"{mine}:affine on " in printed
    assert f"{mine}:wrong: the gradient with respect to b is wrong" in printed
    assert "every gradient" not in printed
    call = printed.rstrip().rpartition("to repeat: ")[2]
    assert call.startswith('check_gradients(wrong, *arrays("B I, I O, O", B=')
    sys.path.insert(0, str(Path(mine).parent))
    try:
        names = {}
        exec(FILE, names)
    finally:
        sys.path.pop(0)
    with pytest.raises(AssertionError, match="respect to b is wrong"):
        eval(call, {**names, "arrays": arrays, "check_gradients": check_gradients, "np": np})


@pytest.mark.deep
def test_the_tolerance_is_the_callers(mine, tmp_path, capsys):
    path = tmp_path / "nearly.py"
    path.write_text("def op(x):\n    return 2 * x, lambda dy: 2.001 * dy\n")
    command = ["gradcheck", f"{path}:op", "--shapes", "N"]
    assert main([*command, "--tolerance", "0.01"]) == 0
    assert "within 0.01 on 5 random cases" in capsys.readouterr().out
    assert main([*command, "--tolerance", "1e-5"]) == 1
    assert ", tolerance=1e-05)" in capsys.readouterr().out


def test_a_docstring_may_name_its_sizes(tmp_path, capsys):
    path = tmp_path / "named.py"
    path.write_text(
        'def op(x, W):\n    """x (batch, d_in), W (d_in, 2d)."""\n'
        "    return x @ W, lambda dy: (dy @ W.T, x.T @ dy)\n"
    )
    assert main(["gradcheck", f"{path}:op", "--seeds", "2"]) == 0
    assert ':op on "Batch D_in, D_in 2D", worst' in capsys.readouterr().out


def test_own_ops_and_those_of_the_package(mine, capsys):
    assert main(["gradcheck", "tanh", f"{mine}:affine", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert f"{mine}:affine on " in printed
    assert re.search(r"\ntanh +\d\.\de", printed)
    assert printed.endswith("within 1e-06 on 1 random case\n")


@pytest.mark.parametrize(
    ("target", "message"),
    few(
        [
            ("lstn", r"gradcheck: expected FILE.py:NAME, or some of .*'lstn'; did you mean lstm"),
            ("MINE", r"mine.py: expected FILE.py:NAME, the name of a function or of a class"),
            ("mine.txt:op", r"mine.txt:op: expected FILE.py:NAME"),
            ("absent.py:op", r"absent.py:op: expected a Python file, found none"),
            ("MINE:afine", r"mine.py:afine: expected something called .*; did you mean affin"),
            ("MINE:table", r"mine.py:table: ids: expected --shapes with a part such as "),
            ("MINE:has_a_bug", r"has_a_bug: expected an op .* line \d+, return x @ x, .*: Value"),
            ("broken.py:op", r"broken.py:op: .* imported, found line 2, import nothing_of_this_na"),
            ("syntax.py:op", r"syntax.py:op: .* imported, found line 1: SyntaxError"),
        ],
        kept=5,
    ),
)
def test_bad_input_is_one_line(target, message, mine, tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("import numpy\nimport nothing_of_this_name\n")
    Path("syntax.py").write_text("def op(:\n")
    assert re.search(message, fails("gradcheck", target.replace("MINE", mine)))


def test_what_the_code_does_to_its_process_does_not_matter(mine, capsys):
    assert main(["gradcheck", f"{mine}:leaves_a_thread"]) == 0
    assert "every gradient agrees" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MINE:affine", "--shapes", "B T <"], r"affine: arrays: expected parts such as"),
        (["tanh", "--shapes", "B I"], "--shapes: expected FILE.py:NAME, found an op of the pac"),
        (["MINE:affine", "--shapes", "(3, 4)"], "--shapes: expected letters, such as .* '.3, 4"),
        (["tanh", "--kinks", "0"], "--kinks: expected FILE.py:NAME, found an op of the package"),
        (["MINE:affine", "--tolerance", "1"], "--tolerance: expected a number above 0 and below 1"),
    ],
)
def test_wrong_options_are_one_line(arguments, message, mine, fails):
    assert re.search(message, fails("gradcheck", *[a.replace("MINE", mine) for a in arguments]))
