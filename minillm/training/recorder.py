"""The actions between the steps of a training: counting, metrics, validation, checkpoints."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minillm.mpi import ranks
from minillm.training.checkpoints import Summary, save_checkpoint
from minillm.training.optimisers import Optimiser
from minillm.training.options import Options
from minillm.training.progress import ProgressDisplay
from minillm.training.task import Task


@dataclass
class Recorder:
    """The records of one run: in its summary, its store (if it has one) and on the screen."""

    params: Mapping[str, np.ndarray]
    optimiser: Optimiser
    task: Task
    options: Options
    rng: np.random.Generator
    store: Any
    summary: Summary
    display: ProgressDisplay

    def __post_init__(self) -> None:
        self.started_at = time.monotonic() - self.summary.seconds
        self.saved_at = self.summary.seconds
        if self.store is not None:
            self.store.trim_metrics(self.summary.step)

    def after_step(
        self, before: float, loss: float, tokens: int, learning_rate: float, norm: float
    ) -> float:
        """Count a step, log, validate and save if due, and return the progress."""
        summary = self.summary
        summary.step += 1
        summary.tokens += tokens
        summary.recent_loss += loss
        summary.seconds = self._now()
        done = self.options.progress(summary.step, summary.seconds)
        items = self.task.rows or summary.tokens
        self.display.update(done, self._position(), loss, items, summary.seconds)
        if summary.step % self.options.log_every == 0:
            self._log(
                tokens=summary.tokens,
                loss=summary.recent_loss / self.options.log_every,
                learning_rate=learning_rate,
                gradient_norm=norm,
            )
            summary.recent_loss = 0.0
        if self.options.validates(before, done, summary):
            self._validate()
        if summary.seconds - self.saved_at >= self.options.checkpoint_seconds:
            self.save()
        return done

    def _now(self) -> float:
        """The seconds of the run so far, on rank 0's clock."""
        return ranks().gather(time.monotonic() - self.started_at)[0]

    def _position(self) -> float:
        """The position to show, in epochs or in steps."""
        step = self.summary.step
        return self.options.epoch(step) if self.options.in_epochs else step

    def _log(self, **values: float) -> None:
        """Append a line of metrics."""
        if self.store is not None:
            seconds = round(self.summary.seconds, 3)
            self.store.append_metrics({"step": self.summary.step, "seconds": seconds, **values})

    def _validate(self) -> None:
        """Measure the validation loss; store the weights if they are the best so far."""
        summary = self.summary
        started_at = self._now()
        loss = self.task.validation_loss() if ranks().rank == 0 else math.nan
        loss = ranks().gather(loss)[0]
        summary.validation_seconds += self._now() - started_at
        self.display.validated(self._position(), loss, self.task)
        self._log(validation_loss=loss, **self.task.measures)
        if not loss < summary.best_loss:
            summary.waited += 1
            return
        summary.best_loss, summary.best_step, summary.waited = loss, summary.step, 0
        if self.store is not None:
            values = {"step": summary.step, "validation_loss": loss}
            self.store.save_model(self.params, values)

    def save(self) -> None:
        """Store a checkpoint; before the first validation, its weights are also the best."""
        summary = self.summary
        summary.seconds = self._now()
        if self.store is not None:
            if math.isinf(summary.best_loss):
                self.store.save_model(self.params, {"step": summary.step})
            save_checkpoint(self.store, self.params, self.optimiser, self.task, self.rng, summary)
        self.saved_at = self._now()
