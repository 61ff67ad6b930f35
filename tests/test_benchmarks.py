"""The benchmarks: their command, its table, and the programs beside it."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_times import LIMITS, kept, times

import benchmarks
from benchmarks import __main__ as program
from benchmarks import llama, records, report
from benchmarks.changes import ALL, Between, Config
from benchmarks.machine import HELD_TO_AVX2, VERSION, described, machine
from minillm.data import split_text
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.testing import check_projections
from minillm.timing import contest
from minillm.timing.results import Limits, Results

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def here():
    return machine()


@pytest.fixture
def quick(monkeypatch):
    """Limits that are not measured."""
    monkeypatch.setattr(contest, "limits", lambda count: replace(LIMITS, threads=count))


def test_the_table_of_a_comparison(here, tmp_path, capsys, monkeypatch):
    a = times(0, 9, 0.001, NumPy=2.0, Cython=1.0, PyTorch=3.0)
    b = times(1, 9, 0.001, NumPy=2.0, Cython=1.5, PyTorch=3.0)
    before = kept(here, a, replace(a, sizes="other"), folder=tmp_path)
    after = kept(here, b, folder=tmp_path, numpy="9.9")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "compare", str(before), str(after)])
    assert program.main() == 0
    shown = capsys.readouterr().out
    assert f"numpy: {here['numpy']} and 9.9" in shown
    row = next(line for line in shown.splitlines() if "Cython" in line)
    expected = "1 lstm 32, 64 Cython 1e+03 1.5e+03 1.50 (1.50 to 1.50) worse"
    assert row.split() == expected.split()
    assert "1 compared: 1 worse." in shown
    assert "In A alone: 1." in shown
    assert " PyTorch  " not in shown  # it is nobody's here to make faster


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (None, "expected a file of results, found No such file or directory"),
        ("", "expected results, found an empty file"),
        ("{", "line 1: expected a record of a machine, found '{'"),
        ('{"cell": {}}', "line 1: expected a record of a machine"),
        ('{"machine": {"version": 0}}', f"expected results of version {VERSION}, found 0"),
        ("[" * 100_000, "line 1: expected a record of a machine"),
    ],
)
def test_a_file_of_another_kind_ends_the_program(line, message, tmp_path, capsys, monkeypatch):
    path = tmp_path / "results.jsonl"
    if line is not None:
        path.write_text(line)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "compare", str(path), str(path)])
    assert program.main() == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_peers_are_held_to_avx2_where_our_kernels_are(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments[1:]))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--full"])
    for name in HELD_TO_AVX2:
        monkeypatch.delenv(name, raising=False)
    for kernels, available in (("avx512", ["avx512"]), ("avx2", ["avx2"]), ("avx2", ["avx512"])):
        assert started == []
        found = {"kernels": kernels, "available": available}
        monkeypatch.setattr(program, "kernels_info", lambda found=found: found)
        program.hold_peers()
    ((command, environment),) = started
    assert command == [sys.executable, "-m", "benchmarks", "--full"]
    assert environment.items() >= HELD_TO_AVX2.items()
    for name, value in HELD_TO_AVX2.items():
        monkeypatch.setenv(name, value)
    program.hold_peers()
    assert len(started) == 1
    assert "held to AVX2" in described(machine())


def test_a_refusal_leaves_no_file(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(program, "limits", contest.limits)
    monkeypatch.setattr(program, "kernels_info", lambda: {"kernels": "avx2", "available": ["avx2"]})
    monkeypatch.setattr("benchmarks.cases.cases", lambda *_: [])
    for wrong, message in (("--only=nothing", "found no case"), ("--threads=0", "found 0")):
        command = ["benchmarks", "--out", str(tmp_path), "--threads=1", wrong]
        monkeypatch.setattr(sys, "argv", command)
        assert program.main() == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_table_has_ratios_and_shares(here):
    cells = [times(0, 9, 0.0, NumPy=2.0, Cython=1.0, PyTorch=0.5)]
    cells.append(replace(cells[0], threads=2, seconds={"NumPy": [3.0], "Cython": [1.0]}))
    limits = {1: Limits(1, 2e9, 1e9), 2: Limits(2, 4e9, 1e9)}
    shown = report.table(Results(here, limits, cells))
    row = next(line for line in shown.splitlines() if line.startswith("lstm"))
    one, two = "1e+03 0% 2.00 0.50 50%", "1e+03 0% 3.00 - 25%"
    assert row.split()[3:] == f"{one} {two}".split()
    assert "Recurrences on 1, geometric mean: 2.00 x NumPy, 0.50 x PyTorch." in shown
    assert shown.index("\nLost: lstm (32, 64) on 1: PyTorch 0.50.\n") < shown.index(row)
    assert "\nNo cell is lost.\n" in report.table(Results(here, limits, cells[1:]))


def test_the_parts_of_a_step_are_all_of_it(monkeypatch):
    pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")
    from benchmarks import parts

    sizes = {"layers": 1, "heads": 2, "width": 8, "context": 4, "batch": 2}
    monkeypatch.setitem(parts.GPTS, "tiny", sizes)
    monkeypatch.setattr(parts, "limits", lambda count: Limits(count, 1e9, 1e9))
    _, _, *lines = parts.table("tiny", [1], 1).splitlines()
    *taken, whole = (float(line.split("|")[2]) for line in lines)
    assert len(taken) == len(parts.PARTS)
    assert whole > 0
    assert math.isclose(sum(taken), whole, abs_tol=0.1)


# --- from GPT-2 to Llama ----------------------------------------------------------------------

SIZES = {"vocabulary": 7, "context": 5, "layers": 2, "heads": 4, "width": 8}


@pytest.mark.parametrize(
    ("model", "config", "changes"),
    [(GPT, GPTConfig(**SIZES), {}), (Llama, LlamaConfig(**SIZES, key_heads=2), ALL)],
)
def test_the_ends_are_gpt_and_llama(model, config, changes):
    rng = np.random.default_rng(0)
    end, ids = model(config, rng), rng.integers(0, 7, (2, 5))
    between = Between(Config(**SIZES, **changes), params=end.params)
    np.testing.assert_array_equal(between.forward(ids)[0], end.forward(ids)[0])


@pytest.mark.deep
@settings(max_examples=20)
@given(names=st.sets(st.sampled_from([*ALL, "tied"])), seed=SEEDS)
def test_any_changes_make_a_model_with_its_gradient(names, seed):
    rng = np.random.default_rng(seed)
    changes = {name: (ALL | {"tied": False})[name] for name in names}
    model = Between(Config(**SIZES, **changes), rng, dtype=np.float64)
    for array in model.params.values():
        array += rng.normal(0, 0.1, array.shape)
    batch = tuple(rng.integers(0, 7, (2, 3, 5)))
    gradients = model.loss(batch)[1]()
    assert gradients.keys() == model.params.keys()
    assert all(np.any(g) for g in gradients.values())
    check_projections(lambda: model.loss(batch), model.params, rng=rng)


def test_a_padded_llama_has_the_same_logits():
    from benchmarks.llama import padded

    config = LlamaConfig(50, width=48, layers=2, heads=6, key_heads=3, feed_forward=100, eps=1e-2)
    model = Llama(config, np.random.default_rng(0))
    for array in model.params.values():
        array[:] = np.random.default_rng(1).standard_normal(array.shape)
    wide = padded(model)
    assert {size % 256 for name, W in wide.params.items() for size in W.shape[-1:]} == {0}
    ids = np.arange(20)[None]
    expected = model.forward(ids)[0]
    np.testing.assert_allclose(wide.forward(ids)[0], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("decode", ["cp", "head -c 5", "false", None])
def test_a_record_counts_the_bytes_of_an_archive_that_decodes(tmp_path, decode):
    text, program = tmp_path / "held-out.txt", tmp_path / "entry"
    text.write_text("what is held out\n")
    if decode:
        to = '"$3" > "$4"' if decode != "cp" else '"$3" "$4"'
        program.write_text(
            f'#!/bin/sh\ncase $1 in\ntrain) mkdir "$3" && cp "$2" "$3";;\n'
            f'encode) cp "$3" "$4";;\ndecode) {decode} {to};;\nesac\n'
        )
        program.chmod(0o755)
    entry = records.Entry(str(tmp_path))
    if decode != "cp":
        with pytest.raises(records.Failed):
            records.record(entry, text, text, 0, 0.1)
        return
    figures = records.record(entry, text, text, 0, 0.1)
    assert figures["bytes"] == text.stat().st_size
    assert figures["model"] == records.packed([text])
    assert "| mine | 17 |" in records.table({"mine": [figures]}, 17)


@given(length=st.integers(1, 200))
def test_a_row_learns_from_all_of_the_text(length):
    text = "".join(map(chr, range(length)))
    assert split_text(records.with_its_end(text))[0] == text


def test_all_programs_are_listed():
    folder = Path(benchmarks.__file__).parent
    scripts = [p.stem for p in folder.glob("*.py") if '__name__ == "__main__"' in p.read_text()]
    scripts += [p.parent.name for p in folder.glob("*/__main__.py")]
    listed = re.findall(r"python -m benchmarks\.(\w+)", benchmarks.__doc__)
    assert sorted(listed) == sorted(set(scripts) - {"__main__"})


def test_wrong_input_is_answered_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        ([], "missing.gguf: there is no such file"),
        (["--peer", "it"], "peer: expected NAME=LIBRARY, found no file 'it'"),
    ):
        monkeypatch.setattr(sys, "argv", ["llama", "missing.gguf", *arguments])
        assert llama.main() == 2
        assert capsys.readouterr().err == f"benchmarks.llama: {message}\n"


@pytest.fixture(scope="module")
def distances(tmp_path_factory):
    """The book's own kernel, compiled."""
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("own")
    source = Path(benchmarks.__file__).parent / "own/distances.pyx"
    (folder / source.name).write_text(source.read_text())
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-3", source.name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    spec = importlib.util.spec_from_file_location("distances", next(folder.glob("distances.*.*")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.deep
@given(n=st.integers(0, 40), m=st.integers(0, 70), depth=st.integers(0, 9), seed=SEEDS)
def test_the_own_kernel_equals_its_definition_at_the_edges_of_tiles(n, m, depth, seed, distances):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((n, depth), np.float32), rng.standard_normal((m, depth), np.float32)
    expected = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    for function in (distances.typed, distances.tiled):
        np.testing.assert_allclose(function(a, b), expected, rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="expected rows of one length"):
            function(a, np.zeros((m, depth + 1), np.float32))


@pytest.mark.deep
def test_the_contestants_of_all_cases_agree():
    """With PyTorch, where it is installed.

    The largest cases are left out, for the benchmarks compare contestants themselves: of each of
    them, a smaller one with the same functions is there.
    """
    from benchmarks.cases import cases

    for case in (case for case in cases(full=True) if case.flops < 40e9):
        results = {name: run() for name, run in case.contestants.items()}
        contest.check_agreement(f"{case.kind} ({case.sizes})", results, case.tolerance)
