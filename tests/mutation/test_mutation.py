"""The tool itself: the mutants that it finds, and its verdicts."""

import ast
import shutil
from pathlib import Path

import pytest

from mutation import compiled, python, results
from mutation.equivalent import EQUIVALENT
from mutation.judge import Judge
from mutation.mutant import Mutant
from mutation.project import Project
from mutation.results import KILLED, SURVIVED, UNDECIDED, Results
from mutation.witnesses import NEAR_OF_PAGE, Witness, files, includers, witnesses

ROOT = Path(__file__).resolve().parents[2]

PAGE = """
def square(x):
    y = x * x + 0

    def backward(dy):
        dx = -dy * x**2
        dx += dy @ x
        return dx, dy

    return y, backward
"""

KERNEL = '''
cdef enum:
    SIZE = 1 + 2

cdef void add(const float *a, float *b,
              int n = 1 + 1) noexcept:
    """a + b"""
    cdef int size = n + 1  # a * b
    prefetch(a + 4, n - 1)
    b[0] += -a[0] * <float>(b[1] - 1) + f(a, n) / 2

cdef int work_scratch(int n):
    return 2 * n


cdef float f(const float *a, int n):
    return a[n - 1]
'''

HEADER = """
#include "a + b.h"
#define SIZE 3 + 4 /* a * b */
#define SUM(REAL, NAME)             \\
    static void NAME(REAL *a, int n) \\
    {                               \\
        PREFETCH(a + n);            \\
        a[0] *= *(const REAL *)(a + n) * (REAL)n * -1.5e-3f; \\
    }
"""


FOUND = {  # of a file: the lines that are mutated, and what becomes of them
    "page.py": {
        6: ["dx = (dy) * x**2", "dx = (-dy)", "dx = -dy * ((x) ** 3)"],
        7: ["dx -= dy @ x", "dx += (-(dy @ x))"],
        8: ["return -(dx), dy", "return 0 * (dx), dy", "return dx, -(dy)", "return dx, 0 * (dy)"],
    },
    "k.pyx": {
        10: [
            "b[0] -= -a[0] * <float>(b[1] - 1) + f(a, n) / 2",
            "b[0] += a[0] * <float>(b[1] - 1) + f(a, n) / 2",
            "b[0] += -a[0] + f(a, n) / 2",
            "b[0] += -a[0] * <float>(b[1] + 1) + f(a, n) / 2",
            "b[0] += -a[0] * <float>(b[1] - 1) - f(a, n) / 2",
            "b[0] += -a[0] * <float>(b[1] - 1) + f(a, n)",
        ],
        17: ["return a[n + 1]"],
    },
    "k.h": {
        8: [
            "a[0] /= *(const REAL *)(a + n) * (REAL)n * -1.5e-3f;",
            "a[0] *= *(const REAL *)(a - n) * (REAL)n * -1.5e-3f;",
            "a[0] *= *(const REAL *)(a + n) * -1.5e-3f;",
            "a[0] *= *(const REAL *)(a + n) * (REAL)n;",
            "a[0] *= *(const REAL *)(a + n) * (REAL)n * 1.5e-3f;",
        ]
    },
}


@pytest.mark.parametrize(
    ("find", "name", "source"),
    [
        (python.mutants, "page.py", PAGE),  # the forward is no gradient
        (compiled.mutants, "k.pyx", KERNEL),
        (compiled.mutants, "k.h", HEADER),
    ],
)
def test_mutants_of_a_file(find, name, source):
    found = {}
    for mutant in find(Path(name), source):
        line = mutant.text.splitlines()[mutant.line - 1].strip(" \\")
        found.setdefault(mutant.line, []).append(line)
    assert found == FOUND[name]


def test_mutants_of_all_functions_change_conditions_too():
    page = "def f(x):\n    return not x and 1 < x != 2 and x < 3"
    found = python.mutants(Path("page.py"), page, everywhere=True)
    what = {m.what for m in found}
    assert {"not x: not dropped", "1: one more", "x < 3: becomes <="} <= what
    assert "(not x) or (1 < x != 2) or (x < 3)" in "".join(m.text for m in found)


def test_functions_that_compute_gradients_go_by_their_names():
    page = "".join(
        f"def {name}(dy):\n    return -dy\n"
        for name in ("backward", "norm_backward", "backward_of_weight", "gradients", "forward")
    )
    found = python.mutants(Path("page.py"), page)
    assert {m.line for m in found} == {2, 4, 6, 8}


def test_a_sample_is_spread_and_the_same_each_time():
    found = [Mutant(Path("a.h"), "x" * 100, i, i + 1, "y", "") for i in range(100)]
    some = compiled.sample(found, 10)
    assert [m.begin // 10 for m in some] == list(range(10))
    assert compiled.sample(found, 10) == some
    assert compiled.sample(found, 100) == found


def test_every_equivalent_mutant_is_one_that_is_found():
    for path, reasons in EQUIVALENT.items():
        find = python.mutants if path.endswith(".py") else compiled.mutants
        found = find(Path(path), (ROOT / path).read_text())
        for part in reasons:
            assert any(part in mutant.what for mutant in found), part


def test_functions_with_other_names_exist():
    for path, names in python.ALSO.items():
        defined = {
            node.name
            for node in ast.walk(ast.parse((ROOT / path).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        assert names <= defined, path


def test_every_file_has_witnesses_that_exist():
    assert Path("minillm/ops/lstm.py") in files(ROOT)
    found = includers(ROOT, Path("minillm/_kernels/tile.h"))
    assert {"matmul", "attention", "step", "recurrent"} <= set(found)
    assert "adam" not in found
    for path, test in NEAR_OF_PAGE.items():
        assert Path(path) in files(ROOT)
        assert witnesses(ROOT, Path(path))[0][0].tests[0] == test
    for path in files(ROOT):
        near, wide = witnesses(ROOT, path)
        assert near or path.suffix != ".py"
        for witness in (*near, *wide):
            assert all((ROOT / test).exists() for test in witness.tests), path


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """A judge of one page, toy.py, whose test looks at the first gradient alone."""
    root = tmp_path / "project"
    (root / "tests").mkdir(parents=True)
    shutil.copytree(ROOT / "tests/mutation", root / "tests/mutation")
    (root / "toy.py").write_text(PAGE)
    (root / "tests/test_toy.py").write_text(
        "from toy import square\n"
        "import numpy as np\n"
        "def test_dx():\n"
        "    x = np.array([2.0])\n"
        "    assert square(x)[1](x)[0] == -4\n"
    )
    near = [Witness(None, ("tests/test_toy.py",))]
    monkeypatch.setattr("mutation.judge.witnesses", lambda root, path: (near, []))
    return Judge(root, Results(tmp_path / "results.jsonl"), lambda line: None)


def test_a_copy_leaves_out_what_is_made_here_and_no_package(tmp_path):
    root = tmp_path / "project"
    for name in ("build/x.c", "runs/first/log", "package/runs/run.py", "package/_x.so"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    copy = Project(root, tmp_path / "copy").folder
    assert [path.name for path in copy.rglob("*.*")] == ["run.py"]
    assert not (copy / "runs").exists()


@pytest.mark.deep
def test_a_survivor_is_reported_and_nothing_runs_twice(judge, monkeypatch):
    mutants = [m for m in python.mutants(Path("toy.py"), PAGE) if m.line == 8]
    judge.run(mutants)
    text, any_survived = results.report(mutants, judge.results)
    assert any_survived
    assert text.count("survived: ") == 2
    assert "survived: toy.py:8  dy: returned negated" in text

    again = Results(judge.results.path)
    assert [again.verdict(m) for m in mutants] == [KILLED, KILLED, SURVIVED, SURVIVED]
    other = [m for m in python.mutants(Path("toy.py"), PAGE + "\n") if m.line == 8]
    assert {again.verdict(m) for m in other} == {UNDECIDED}  # the source is another one


@pytest.mark.deep
def test_where_the_tests_fail_already_nothing_is_decided(judge):
    (judge.root / "tests/test_toy.py").write_text("def test_no():\n    assert False\n")
    mutants = python.mutants(Path("toy.py"), PAGE)[:1]
    judge.run(mutants)
    assert judge.results.verdict(mutants[0]) == UNDECIDED
    assert "fails without any change" in judge.results.path.read_text()


@pytest.mark.deep
def test_what_hangs_is_killed_and_the_copy_restored(judge, monkeypatch, tmp_path):
    project = Project(judge.root, tmp_path / "copy")
    hang = Mutant(Path("toy.py"), PAGE, 0, 0, "while True: pass\n", "hangs")
    monkeypatch.setattr("mutation.judge.SPARE", 1)
    judge.fails_unchanged(project, Witness(None, ("tests/test_toy.py",)))
    judge.unchanged = dict.fromkeys(judge.unchanged, 0.0)
    assert judge.decide(project, hang) == (KILLED, "time")
    wait = Mutant(Path("toy.py"), PAGE, 0, 0, "import time; time.sleep(1e6)\n", "waits")
    monkeypatch.setattr("mutation.project.PATIENCE", 3)
    assert judge.decide(project, wait) == (KILLED, "time")
    assert (project.folder / "toy.py").read_text() == PAGE
