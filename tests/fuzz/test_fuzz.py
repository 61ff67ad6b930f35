"""A short run of the fuzzers: always the same inputs.  `python -m tests.fuzz` has more."""

import os
from pathlib import Path

import pytest
from programs import run

from fuzz.driver import Bench, right
from fuzz.readers import READERS, read_samples
from fuzz.samples import write_samples
from minillm.errors import InputError

INPUTS = int(os.environ.get("FUZZ_INPUTS", "20"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return read_samples(folder)


@pytest.mark.parametrize("reader", READERS)
def test_nothing_but_input_errors_comes_of_damaged_files(reader, samples, tmp_path):
    bench = Bench(reader, samples, tmp_path, seed=0)
    found = [bench.run(number) for number in range(INPUTS)]
    for number, error in enumerate(found):
        assert right(error), f"input {number} of {reader}: {error!r}"
    if reader not in ("shards", "arpa-gzip"):  # a digest covers each of their bytes
        assert any(error is None for error in found)  # else the sample itself is refused
    assert any(isinstance(error, InputError) for error in found)


@pytest.mark.parametrize("reader", READERS)
def test_the_samples_are_read(reader, samples, tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz.driver.damaged", lambda name, data, rng: data)
    bench = Bench(reader, samples, tmp_path, seed=0)
    assert [bench.run(number) for number in range(8)] == [None] * 8


@pytest.mark.deep
def test_a_crash_a_hang_and_an_exception_are_counted(tmp_path):
    """The driver itself, on readers that go wrong."""
    program = """
import ctypes, sys
from tests.fuzz import __main__ as fuzz, driver
def crash(folder, rng): ctypes.string_at(0)
def hang(folder, rng):
    while True: pass
def leak(folder, rng): raise KeyError("x")
driver.READERS |= {"pairs.tsv": crash, "images": hang, "analogies": leak}
fuzz.SECONDS = 0.2
sys.argv = ["fuzz", "--inputs", "6", "--readers", "pairs.tsv", "images", "analogies"]
sys.exit(fuzz.main())
"""
    done = run(program, cwd=tmp_path, PYTHONPATH=str(Path(__file__).parents[2]))
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert done.returncode == 1, done.stderr
    assert rows["pairs.tsv"] == ["0", "0", "0", "2", "0"]
    assert rows["images"] == ["0", "0", "0", "0", "2"]
    assert rows["analogies"] == ["0", "0", "2", "0", "0"]
    assert len(list((tmp_path / "build" / "fuzz").iterdir())) == 6
