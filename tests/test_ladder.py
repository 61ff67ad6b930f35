"""The ladder: all rungs train the same model, and the page has the stored figures."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.files import load
from benchmarks.ladder import __main__ as ladder
from minillm.errors import InputError
from minillm.timing import contest

ROOT = Path(ladder.__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/ladder"
SIZE = ladder.Size(layers=2, width=8, batch=2, time=5, heads=2)
COMPILERS = ("PyTorch, compiled", "JAX", "Numba")  # these take seconds, or a minute


def losses_of(name, dtype):
    rungs = ladder.installed([name])
    if not rungs:
        pytest.skip(f"what {name} needs is not installed")
    ((_, step),) = ladder.new_steps(SIZE, rungs, dtype)
    return ladder.first_losses(step)


@pytest.fixture(scope="module")
def expected():
    """The losses of plain Python, which computes in double precision, from float32 weights."""
    return losses_of("Python", np.float32)


@pytest.mark.parametrize("name", ["NumPy", "minillm, NumPy", "minillm, Cython"])
def test_in_double_precision_rungs_equal_python_to_the_last_digits(name):
    if name.endswith("Cython"):
        pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")
    python, found = (losses_of(rung, np.float64) for rung in ("Python", name))
    np.testing.assert_allclose(found, python, rtol=1e-12)
    assert python[-1] < python[0] - 0.05  # it learns


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.deep] * (n in COMPILERS)) for n in ladder.RUNGS]
)
@pytest.mark.filterwarnings("ignore")  # of other people's libraries
def test_each_rung_has_the_same_losses(name, expected):
    if name.endswith("Cython"):
        pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")
    found = losses_of(name, np.float32)
    assert len(found) == ladder.STEPS + 1
    np.testing.assert_allclose(found, expected, rtol=ladder.TOLERANCE)


@pytest.mark.deep
@pytest.mark.filterwarnings("ignore")
def test_numba_agrees_in_the_kernels():
    pytest.importorskip("numba")
    for case in ladder.kernels():
        if case.sizes != "32, 64, 128, 256":  # the large one, whose NumPy takes its time
            results = {name: run() for name, run in case.contestants.items()}
            assert "Numba" in results
            contest.check_agreement(case.kind, results, case.tolerance)


def test_a_rung_whose_library_is_missing_gets_a_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "benchmarks.ladder.in_jax", raising=False)
    assert ladder.installed(["JAX", "NumPy"]).keys() == {"NumPy"}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("JAX is left out: import of jax")


def test_the_command_refuses_a_number_of_threads_and_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ladder", "--threads", "0", "--out", str(tmp_path)])
    assert ladder.main() == 2
    line = "benchmarks.ladder: threads: expected 1 or more, found 0\n"
    assert capsys.readouterr().err == line
    assert not list(tmp_path.iterdir())


@pytest.mark.deep
def test_a_fresh_process_answers():
    with pytest.raises(InputError, match="expected 1 or more, found 0"):
        ladder.in_a_fresh_process(0)


def test_a_race_sets_the_threads_of_numba_too(monkeypatch):
    counts = [2]
    numba = SimpleNamespace(
        get_num_threads=lambda: counts[-1],
        set_num_threads=counts.append,
        config=SimpleNamespace(NUMBA_NUM_THREADS=2),
    )
    monkeypatch.setitem(sys.modules, "numba", numba)
    with contest.threads(1):
        assert counts[-1] == 1
    assert counts == [2, 1, 2]
    with contest.threads(3):  # more than it has started with
        assert counts[-1] == 2


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_the_stored_tables_are_those_of_the_figures(path):
    results = load(path)
    assert path.with_suffix(".md").read_text() == ladder.tables(results)
    assert {cell.sizes for cell in results.cells} >= set(map(str, ladder.SIZES))
