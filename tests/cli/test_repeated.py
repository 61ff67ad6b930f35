"""``--seeds``: several trainings, what they tell, and how they are resumed."""

import json
import os
import signal

import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.training.minibatches import ClassificationTask

TINY = ["--buckets", "40", "--batch", "8", "--epochs", "2"]


@pytest.fixture(autouse=True)
def without_sklearn(monkeypatch):
    """Which is slow to start, and has tests of its own."""
    monkeypatch.setattr("minillm.runs.labelled.has_sklearn", lambda: False)


@pytest.fixture
def labelled(tmp_path):
    path = tmp_path / "texts.tsv"
    rng = np.random.default_rng(0)
    lines = [f"good\tfine day {a} {b}\n" for a, b in rng.integers(0, 9, (30, 2))]
    lines += [f"bad\train again {a} {b}\n" for a, b in rng.integers(0, 9, (15, 2))]
    path.write_text("".join(lines))
    return str(path)


@pytest.fixture
def interrupting(monkeypatch):
    """Makes every ``n``-th step an interruption; returns a function that trains to the end."""
    own, steps = ClassificationTask.training_loss, []

    def train(n, command, resume):
        def interrupted(self, rng):
            steps.append(1)
            if len(steps) % n == 0:
                os.kill(os.getpid(), signal.SIGINT)
            return own(self, rng)

        monkeypatch.setattr(ClassificationTask, "training_loss", interrupted)
        sessions = 1
        while main(command) == 130:
            command, sessions = resume, sessions + 1
            assert sessions < 99
        monkeypatch.setattr(ClassificationTask, "training_loss", own)
        return sessions

    return train


def lines_of(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def files_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "loss.png")


def test_seeds_keep_the_best_run_and_tell_of_all(labelled, tmp_path, capsys):
    out = tmp_path / "run"
    train = ["train", "classifier", labelled, *TINY, "--out"]
    assert main([*train, str(out), "--seeds", "4", "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    records = lines_of(out, "seeds.jsonl")
    assert [record["seed"] for record in records] == [5, 6, 7, 8]
    losses = [record["validation_loss"] for record in records]
    best = 5 + losses.index(min(losses))
    assert f"the run with the best validation loss remains: seed {best}\n" in printed
    mean, spread = np.mean(losses), np.std(losses, ddof=1)
    assert f"4 seeds: validation loss {mean:.4f} ± {spread:.4f}, accuracy " in printed
    for seed in (5, best):
        assert main([*train, str(tmp_path / f"{seed}"), "--seed", str(seed)]) == 0
    alone = (tmp_path / str(best) / "model.safetensors").read_bytes()
    assert (out / "model.safetensors").read_bytes() == alone
    assert files_of(out) == sorted([*files_of(tmp_path / "5"), "seeds.jsonl"])
    assert minillm.load(out).evaluate()["nats_per_item"] == pytest.approx(min(losses), abs=1e-5)


@pytest.mark.parametrize("kind", ["classifier", "recurrent-classifier"])
def test_resumed_equals_uninterrupted(labelled, tmp_path, interrupting, capsys, kind):
    sizes = TINY if kind == "classifier" else ["--hidden", "4", *TINY[2:]]
    train = ["train", kind, labelled, *sizes, "--seeds", "3", "--out"]
    assert main([*train, str(tmp_path / "whole")]) == 0
    parts = str(tmp_path / "parts")
    resume = ["train", kind, "--resume", "--out", parts]
    assert interrupting(5, [*train, parts], resume) > 4
    for file in ("model.safetensors", "config.json", "seeds.jsonl"):
        whole = (tmp_path / "whole" / file).read_bytes()
        assert (tmp_path / "parts" / file).read_bytes() == whole
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "parts")
    capsys.readouterr()
    assert main(resume) == 2  # and now there is nothing left
    assert "the run is complete after " in capsys.readouterr().err


def test_a_complete_run_is_repeated_afterwards(labelled, tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "classifier", labelled, *TINY, "--out", out]) == 0
    assert main(["train", "classifier", "--out", out, "--resume", "--seeds", "2"]) == 0
    assert "2 seeds: " in capsys.readouterr().out
    assert minillm.load(out).settings.seeds == 2
    again = ["train", "classifier", labelled, *TINY, "--out", out, "--overwrite"]
    assert main(again) == 0
    assert not (tmp_path / "run" / "seeds.jsonl").exists()


def test_any_kind_has_seeds(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat.\n" * 40)
    tiny = ["--steps", "3", "--batch", "2", "--hidden", "4", "--window", "6", "--seeds", "2"]
    assert main(["train", "lm", str(text), *tiny, "--out", str(tmp_path / "run")]) == 0
    assert len(lines_of(tmp_path / "run", "seeds.jsonl")) == 2
    assert "2 seeds: validation loss " in capsys.readouterr().out
