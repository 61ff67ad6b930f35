"""``minillm tokenize`` under mpiexec: the shards of one process, kills included."""

import gzip
import json

import pytest
from mpiexec import run

from minillm.cli import main
from minillm.data import Shards, documents
from minillm.text import byte_pairs

TEXTS = [f"{k % 70} is the number of this text, which is one of several\n" for k in range(400)]

# minillm, with blocks of a few bytes; a rank may be killed at its third shard
PROGRAM = """
import os, signal, sys
from minillm.cli import main
from minillm.data import documents, tokenizing
from minillm.mpi import ranks

documents.BLOCK = 500
write, written = tokenizing.write_shard, []

def write_shard(*arguments):
    written.append(arguments)
    if ranks().rank == int(os.environ.get("KILLED", -1)) and len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*arguments)

tokenizing.write_shard = write_shard
sys.exit(main())
"""


@pytest.fixture
def corpus(tmp_path):
    """Files, and a tokenizer."""
    lines = [json.dumps({"text": text}) + "\n" for text in TEXTS]
    (tmp_path / "a.txt").write_text("".join(TEXTS))
    (tmp_path / "b.jsonl").write_text("".join(lines[:200]))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress("".join(lines[200:]).encode()))
    (tmp_path / "run").mkdir()
    values = {"format_version": 1, **byte_pairs.train(["".join(TEXTS)], 300).to_dict()}
    (tmp_path / "run" / "vocabulary.json").write_text(json.dumps(values))
    return [str(tmp_path / name) for name in ("a.txt", "b.jsonl", "c.jsonl.gz")]


def tokenize(ranks, tmp_path, out, files, *options, **environment):
    command = ["tokenize", *files, "--out", out, "--tokenizer", tmp_path / "run", *options]
    return run(ranks, "-c", PROGRAM, *command, cwd=tmp_path, env=environment)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


OPTIONS = ["--shard-bytes", "4000"]


@pytest.mark.deep
def test_two_and_three_ranks_make_the_shards_of_one(tmp_path, corpus):
    for size in (1, 2, 3):
        status, out, error = tokenize(size, tmp_path, f"of{size}", corpus, *OPTIONS)
        assert (status, error) == (0, "")
        assert "documents: 401\n" in out
        assert out.count("\n") == 3
        assert ("per second on" in out) == (size > 1)
        assert files_of(tmp_path / f"of{size}") == files_of(tmp_path / "of1")
    assert (Shards(tmp_path / "of1")[:] == Shards(tmp_path / "of1").eos).sum() == 401


@pytest.mark.deep
def test_after_a_kill_of_a_rank_another_number_of_ranks_goes_on(tmp_path, corpus):
    command = ["tokenize", *corpus, "--out", str(tmp_path / "whole"), "--shard-bytes", "4000"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(documents, "BLOCK", 500)
        assert main([*command, "--tokenizer", str(tmp_path / "run")]) == 0
    out = tmp_path / "out"
    status, _, _ = tokenize(2, tmp_path, out, corpus, "--shard-bytes", "4000", KILLED="1")
    assert status != 0
    done = len(list(out.glob("*.bin")))
    assert 2 <= done < len(list((tmp_path / "whole").glob("*.bin")))
    status, _, error = tokenize(3, tmp_path, out, corpus, "--shard-bytes", "4000")
    assert (status, error) == (0, "")
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.deep
def test_what_one_rank_finds_wrong_ends_the_job_with_a_line(tmp_path, corpus):
    (tmp_path / "a.txt").write_bytes(b"".join(b"a line\n" for _ in range(900)) + b"\xff\n")
    status, out, error = tokenize(2, tmp_path, "out", corpus[:1], "--shard-bytes", "4000")
    assert (status, out) == (2, "")
    assert error.startswith("minillm: rank 1: ")
    assert "a.txt, after byte 4004, line " in error
    assert ": expected UTF-8 text, found the byte 0xff" in error
    assert error.count("\n") == 1
