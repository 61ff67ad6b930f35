"""The smallest task there is, and a function that trains it."""

import signal

import numpy as np
import pytest

from minillm import ops
from minillm.runs.folder import RunFolder
from minillm.training import AdamW, Options, Task, restore_checkpoint, train


class BigramTask(Task):
    """A table of logits, and batches drawn at random from a short text.

    Ctrl-C stops it at a batch; its validation losses may be given; it may have epochs.
    """

    def __init__(self, seed=0, *, stop=None, losses=None, epoch=None):
        self.stop, self.losses = stop, losses
        if epoch:
            self.batches_per_epoch = epoch
        self.seen = []  # the weights at each validation
        self.params = {"table": np.random.default_rng(seed).standard_normal((5, 5))}
        self.ids = np.cumsum(np.random.default_rng(1).integers(1, 3, 200)) % 5
        self.batches = 0
        self.carried = np.zeros(3)

    def loss(self, at):
        logits, table_backward = ops.embedding(self.ids[at], self.params["table"])
        loss, loss_backward = ops.cross_entropy(logits, self.ids[at + 1])

        def backward():
            return {"table": table_backward(loss_backward())}

        return loss, backward

    def training_loss(self, rng):
        self.batches += 1
        if self.batches == self.stop:
            signal.raise_signal(signal.SIGINT)
        self.carried = self.carried + rng.random(3)
        return *self.loss(rng.integers(0, 150, 8)), 8

    def validation_loss(self):
        self.seen.append(self.params["table"].copy())
        if self.losses is not None:
            return self.losses.pop(0)
        return float(self.loss(np.arange(150, 199))[0])

    def state(self):
        return {"carried": self.carried}, {"batches": self.batches}

    def restore(self, arrays, values):
        self.carried = arrays["carried"].copy()
        self.batches = values["batches"]


@pytest.fixture
def bigram():
    """A new task, each time it is called."""
    return BigramTask


@pytest.fixture
def run_bigram(tmp_path):
    """Trains a new task in a folder of ``tmp_path``: ``run_bigram("name", steps=20, ...)``."""

    def run(name, *, resume=False, task=None, optimiser=None, **options):
        task = task or BigramTask()
        folder = RunFolder(tmp_path / name)
        options = {"learning_rate": 0.05, "log_every": 3} | options
        optimiser = optimiser or AdamW(task.params)
        rng = np.random.default_rng(7)
        start = restore_checkpoint(folder, task.params, optimiser, task, rng) if resume else None
        options = Options(**options)
        summary = train(task.params, optimiser, task, options, rng, folder, start, quiet=True)
        return summary, task, folder

    return run
