"""The command line of the language model, driven as a user would."""

import json
import subprocess
import sys

import pytest

from minillm.cli import main

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60
TINY = ["--hidden", "12", "--embedding", "6", "--batch", "4", "--window", "8"]


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, text_file):
    """A finished run of 40 steps; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", "lm", text_file, "--out", str(folder), "--steps", "40", *TINY]) == 0
    return folder


def test_train_generate_eval(run_folder, capsys):
    assert {path.name for path in run_folder.iterdir()} == {
        *("config.json", "vocabulary.json", "model.safetensors"),
        *("resume.safetensors", "metrics.jsonl", "loss.png"),
    }
    assert main(["generate", str(run_folder), "--prompt", "the ", "--length", "20"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("the ")
    assert len(written) == 4 + 20 + 1

    assert main(["eval", str(run_folder), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["unit"] == "character"
    assert 0 <= len(TEXT) // 10 - 1 - results["tokens"] < 4  # less than a batch is left over
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    best = min(r["validation_loss"] for r in records if "validation_loss" in r)
    assert results["nats_per_token"] == pytest.approx(best, rel=1e-6)


def test_python_dash_m():
    command = [sys.executable, "-m", "minillm", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "minillm train lm --out runs/first" in result.stdout
