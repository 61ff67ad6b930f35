"""Texts and options that make runs of a fraction of a second."""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from minillm.cli import main

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60
LM = ["--hidden", "12", "--embedding", "6", "--batch", "4", "--window", "8"]
GPT = ["--width", "8", "--heads", "2", "--layers", "2", "--context", "12", "--batch", "4"]
WORD2VEC = ["--dimension", "4", "--epochs", "1", "--minimum-count", "1"]
WILD = ["--optimiser", "sgd", "--learning-rate", "1e38", "--clip", "1e38", "--warmup", "0"]


def start(*command):
    """A command as a process of its own, whose parent ignores no signal."""
    return subprocess.Popen(
        [sys.executable, "-m", "minillm", *map(str, command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def metrics(folder):
    """The lines of a run's metrics, without the times."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def contents(folder):
    """The bytes of each file in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@contextmanager
def interrupted(step, Task):
    """Ctrl-C comes in this step of the trainings of a task in the block."""
    original, count = Task.training_loss, 0

    def counted(self, rng):
        nonlocal count
        count += 1
        if count == step:
            signal.raise_signal(signal.SIGINT)
        return original(self, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Task, "training_loss", counted)
        yield


def stopped_after(steps, command, Task, program=None):
    """Run a training of this task, which Ctrl-C stops after so many steps."""
    with interrupted(steps, Task):
        assert main([str(part) for part in command], program) == 130
