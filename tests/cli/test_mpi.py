"""Commands of several ranks under mpiexec: what they write and tell, and what ends them."""

import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tiny
from mpiexec import run, start

import minillm
from minillm import mpi
from minillm.cli import main
from minillm.runs.folder import RunFolder

TINY = tiny.LM
LONG = ["--steps", "1000000"]


@pytest.fixture(autouse=True)
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(tiny.TEXT)
    return path


def train(ranks, tmp_path, name, *options, kind="lm"):
    """A training that succeeds; the folder, and what it has told."""
    files = [] if "--resume" in options else [tmp_path / "text.txt"]
    out = tmp_path / name
    status, stdout, stderr = run(
        ranks, "-m", "minillm", "train", kind, *files, "--out", out, *options
    )
    assert status == 0, stderr
    return RunFolder(out), stdout, stderr


def state(folder):
    """All that resuming needs, but the clock."""
    arrays, values = folder.load_resume()
    del values["progress"]["seconds"], values["progress"]["validation_seconds"]
    return arrays, values


def started(tmp_path, steps=1_000_000):
    """A training that goes on for long, as soon as it has begun to take steps; and its folder."""
    out = tmp_path / "run"
    command = ("train", "lm", tmp_path / "text.txt", "--out", out, *TINY, "--steps", steps)
    process = start(2, "-m", "minillm", *command, "--checkpoint-seconds", "0")
    folder = RunFolder(out)
    while not (folder.resume_path.exists() and folder.read_metrics()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    return process, folder


def children(process):
    """The processes of the ranks: mpiexec has started one that started them."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    proxies = {pid for pid, parent in parents.items() if parent == process.pid}
    return [pid for pid, parent in sorted(parents.items()) if parent in proxies]


@pytest.mark.deep
def test_a_killed_rank_ends_the_job_which_is_resumed_bit_for_bit(tmp_path):
    """Ranks tell once what they have trained; tests/training/test_parallel.py compares them."""
    whole, stdout, stderr = train(2, tmp_path, "whole", *TINY, "--steps", "100")
    assert stdout.count("trained after 100 steps") == stdout.count("sample:") == 1
    assert len(re.findall(r"step \d+: ", stderr)) == 10  # a line for each validation
    steps = [record["step"] for record in whole.read_metrics()]
    assert steps == sorted(steps)
    process, folder = started(tmp_path, steps=100)
    os.kill(children(process)[1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert 0 < folder.load_resume()[1]["progress"]["step"] < 100
    train(2, tmp_path, "run", "--resume", "--checkpoint-seconds", "30")
    (arrays, values), (others, other_values) = state(folder), state(whole)
    assert values == other_values
    assert all(np.array_equal(array, others[name]) for name, array in arrays.items())


@pytest.mark.deep
@pytest.mark.parametrize("to_one_rank", [False, True])
def test_a_signal_ends_the_job_after_the_same_step(tmp_path, to_one_rank):
    process, folder = started(tmp_path)
    command = ("train", "lm", "--out", folder.path, "--resume", "--steps", "2000000")
    status, stdout, stderr = run(2, "-m", "minillm", *command)  # another job in the same folder
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"minillm: .*/run: it is in use by process \d+ .*\n", stderr)
    if to_one_rank:
        os.kill(children(process)[1], signal.SIGTERM)
    else:
        process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert to_one_rank or "Traceback" not in stderr
    assert stdout.count("stopped after ") == 1
    step = folder.load_resume()[1]["progress"]["step"]
    train(2, tmp_path, "run", "--resume", "--steps", str(step + 5))
    assert minillm.load(folder.path).kind.name == "lm"


@pytest.mark.deep
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("train", "lm", "--nonsense", "--out", "r"), "there is no option '--nonsense'"),
        (("generate", "r"), "generate: expected one process, found 2, started by mpiexec"),
        (("train", "lm", "-", "--out", "r"), "standard input: expected files"),
        (("train", "ngram", "--out", "r"), "ngram: expected one process, found 2, started by m"),
    ],
)
def test_an_error_of_all_ranks_is_told_once(tmp_path, command, told):
    status, stdout, stderr = run(2, "-m", "minillm", *command, cwd=tmp_path)
    assert (status, stdout) == (2, "")
    assert stderr.startswith("minillm: ")
    assert told in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


FAILING = """
import sys
from minillm import cli, mpi
from minillm.errors import InputError
from minillm.training.minibatches import MinibatchTask
from minillm.training.language_model import LanguageModelTask

def fails(self, rng, real=LanguageModelTask.training_loss):
    if mpi.ranks().rank == 1 and self.batches.position > 40:
        raise {error}
    return real(self, rng)

LanguageModelTask.training_loss = fails
sys.exit(cli.main())
"""


@pytest.mark.deep
@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        ("InputError('bad data')", 2, "minillm: rank 1: bad data\n"),
        ("ZeroDivisionError('a bug')", 1, "ZeroDivisionError: a bug"),
    ],
)
def test_an_error_of_one_rank_ends_all(tmp_path, text_file, error, status, told):
    program = tmp_path / "failing.py"
    program.write_text(FAILING.format(error=error))
    began = time.monotonic()
    found, _, stderr = run(
        3, program, "train", "lm", text_file, "--out", tmp_path / "run", *TINY, *LONG
    )
    assert time.monotonic() - began < 40
    assert found == status
    if status == 2:
        assert stderr.endswith(told)
        assert stderr.count("minillm: ") == 1
    else:
        assert told in stderr


@pytest.mark.parametrize("error", ["ImportError('none')", "RuntimeError('no\\nlibrary')"])
def test_without_mpi_rank_0_says_what_is_missing(error, tmp_path, monkeypatch, capsys):
    (tmp_path / "mpi4py.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mpi4py", raising=False)
    mpi.ranks.cache_clear()
    for rank, told in (
        ("0", "minillm: started by mpiexec, which needs the package mpi4py"),
        ("1", ""),
    ):
        monkeypatch.setenv("PMI_RANK", rank)
        assert main(["info"]) == 2
        line = capsys.readouterr().err
        assert line.startswith(told)
        assert line.count("\n") == bool(told)


@pytest.mark.parametrize(("given", "threads"), [(None, 1), ("5", 5)])
def test_the_ranks_of_a_machine_share_its_cores(monkeypatch, given, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda of: range(7), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    mpi.share_cores()
    assert "OMP_NUM_THREADS" not in os.environ  # one process has all
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setenv("MPI_LOCALNRANKS", "4")
    try:
        mpi.share_cores()
        assert int(os.environ["OMP_NUM_THREADS"]) == threads
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
