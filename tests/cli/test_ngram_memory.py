"""n-gram models larger than --memory, of one process and of several."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minillm.cli import main
from minillm.data import builtin_corpus
from minillm.training import ngram

MEASURE = """
import re, sys
import minillm.cli.train
from minillm.cli import main
from minillm.runs.kind import kinds

def resident(entry):
    with open("/proc/self/status") as file:
        return int(re.search(entry + r":\\s+(\\d+) kB", file.read())[1]) * 1024

kinds()
before = resident("VmRSS")
status = main(sys.argv[1:])
print(status, resident("VmHWM") - before)
"""


def many_words(tokens, seed=0):
    """Lines of words as frequent as in written language."""
    rng = np.random.default_rng(seed)
    words = [f"w{int(20_000**u)}" for u in rng.random(tokens)]
    return "".join(" ".join(words[at : at + 20]) + "\n" for at in range(0, tokens, 20))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(many_words(20_000))
    return str(path)


@pytest.fixture
def little_memory(monkeypatch):
    """All that --memory says is for the streams."""
    monkeypatch.setattr(ngram, "LEAST_MEMORY", 1)
    monkeypatch.setattr(ngram, "READING", 0)
    monkeypatch.setattr(ngram, "BYTES_PER_WORD", 0)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "options",
    [
        ["--order", "3"],
        ["--order", "1"],
        ["--order", "4", "--prune", "0", "1", "--smoothing", "absolute"],
        ["--order", "3", "--smoothing", "witten-bell", "--vocabulary", "50"],
        ["--order", "5", "--unit", "character", "--prune", "1", "2"],
        ["--order", "3", "--smoothing", "add-k", "--pretokenised"],
    ],
)
def test_the_arpa_file_is_the_one_made_in_memory(tmp_path, capsys, options):
    text = tmp_path / "text.txt"
    text.write_text(builtin_corpus()[:12_000])
    made, told = [], []
    for memory in ("2G", "100K"):
        run, arpa = str(tmp_path / memory), tmp_path / f"{memory}.arpa"
        arguments = [str(text), "--out", run, "--memory", memory, *options]
        assert main(["train", "ngram", *arguments]) == 0
        told.append(capsys.readouterr().out.replace(run, "run"))
        assert main(["export", run, str(arpa)]) == 0
        capsys.readouterr()
        made.append(arpa.read_bytes())
    assert made[0] == made[1]
    assert told[0] == told[1]  # the measures on the held-out tenth, too


@pytest.mark.deep
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it says how much is resident")
def test_memory_is_as_large_as_was_said(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(many_words(900_000))
    resident = {}
    for memory in ("64M", "2G"):
        out = ["--out", str(tmp_path / memory), "--memory", memory, "--pretokenised"]
        found = subprocess.run(
            [sys.executable, "-c", MEASURE, "train", "ngram", str(text), *out],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        status, resident[memory] = map(int, found.stdout.splitlines()[-1].split())
        assert status == 0
    assert resident["64M"] < 1.2 * 2**26
    assert resident["2G"] > 2 * 2**26  # the same text would have needed more
    models = [(tmp_path / memory / "model.safetensors").read_bytes() for memory in resident]
    assert models[0] == models[1]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_leaves_nothing(tmp_path):
    (tmp_path / "text.txt").write_text(many_words(500_000))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    options = ["--out", tmp_path / "out", "--memory", "1M", "--pretokenised"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minillm", "train", "ngram", tmp_path / "text.txt", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    assert any(line.startswith("counting the n-grams") for line in process.stderr)
    assert list(temporary.glob("*/*"))
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=100)
    assert (process.returncode, error.splitlines()[-1]) == (130, "minillm: stopped"), error
    assert not list(temporary.iterdir())
    assert not (tmp_path / "out").exists()
