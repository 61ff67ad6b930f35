"""The plan of a training from the command line."""

import re

import pytest
from mpiexec import run as run_ranks

from benchmarks.studies import plan
from minillm.runs.kind import find_kind
from minillm.timing.results import Limits

# No figure is measured: 100 GFLOP/s, 10 GB/s of memory, 1 GB/s and 10 microseconds of network.
MACHINE = ["--products", "100", "--memory", "10", "--network", "1", "--latency", "10"]
TINY = ["--layers", "2", "--heads", "2", "--width", "64", "--context", "100", "--vocabulary", "100"]


def planned(capsys, *arguments):
    plan.main(arguments)
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


def rows_of(table):
    """The numbers of the table, by ranks."""
    lines = [
        line.split() for line in table.splitlines() if re.match(r" +[\d,]+ +[\d.]+ [mu]?s", line)
    ]
    return {int(line[0].replace(",", "")): line[1:] for line in lines}


def test_the_plan_by_hand(capsys):
    """N = 2 (12 64^2 + 13 64) + 202 64; 1,600 tokens of 6 (24 64^2 + 6400) + 6 2 100 64."""
    out = planned(capsys, *MACHINE, *TINY, "--tokens", "1e9")
    assert "one rank  100 GFLOP/s in matrix products, 10.0 GB/s of memory (given)" in out
    assert "network   1 GB/s, 10 microseconds (given)" in out
    assert "vocabulary 100, context 100, heads 2: 112,896 weights" in out
    operations = 6 * (24 * 64**2 + 100 * 64) + 6 * 2 * 100 * 64
    assert f"operations: {operations:.3g} a token, {operations * 1e9:.3g} for 1 billion" in out
    moved = 4 * (1600 * (59 * 2 * 64 + 16 * 64 + 800) + 8 * 112_896)
    alone = 1600 * operations / 1e11 + moved / 1e10
    found = rows_of(out)
    assert list(found) == [2**power for power in range(11)]
    assert found[1][:2] == [f"{alone * 1e3:.3g}", "ms"]
    assert found[1][2:5] == [f"{1600 / alone:,.0f}", "100.0%", f"{1e9 * alone / 1600 / 3600:.3g}"]
    sent = 2 * 1023 / 1024 * 4 * 112_896
    step = alone + 4 * 4 * 112_896 / 1e10 + sent / 1e9 + 20 * 1e-5
    assert found[1024] == [
        *(f"{step * 1e3:.3g}", "ms", f"{1600 * 1024 / step:,.0f}", f"{alone / step:.1%}"),
        f"{1e9 * step / 1600 / 1024 / 3600:.3g}",
    ]
    assert [len(found[n]) for n in (1, 16, 32)] == [10, 10, 5]  # 16 rows cannot be dealt to 32


def test_the_defaults_are_those_of_the_training(capsys):
    out = planned(capsys, *MACHINE)
    settings = find_kind("gpt").settings
    assert f"a GPT of {settings.layers} layers of {settings.width}, vocabulary 10,000" in out
    assert f"memory of a rank with {settings.batch} rows" in out
    layers, width = map(int, re.search(r"--layers (\d+) .*--width (\d+)", out).groups())
    assert width == 64 * layers  # the best model for as many operations


def test_this_machine_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(plan, "limits", lambda count, seconds: Limits(count, 7e9, 3e9))
    out = planned(capsys, *TINY)
    assert "one rank  7 GFLOP/s in matrix products, 3.0 GB/s of memory (" in out
    assert "network   1.25 GB/s, 50 microseconds (mpiexec -n N python -m " in out


@pytest.mark.deep
def test_ranks_measure_their_network():
    status, out, errors = run_ranks(2, "-m", "benchmarks.studies.plan", *TINY)
    assert (status, errors) == (0, "")
    assert out.count("(measured between 2 ranks)") == out.count("one rank ") == 1
    sizes = re.findall(r"Allreduce of +([\d.]+ [kM]B): +[\d.]+ [um]?s, +[\d.]+ GB/s", out)
    assert sizes == ["4.1 kB", "65.5 kB", "1.05 MB", "16.8 MB", "67.1 MB"]
