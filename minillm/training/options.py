"""The length of a training, its learning rate, and the actions between its steps."""

import math
from dataclasses import dataclass, replace

from minillm._kernels import PRECISIONS
from minillm.errors import InputError
from minillm.training.checkpoints import Summary
from minillm.training.schedules import SCHEDULES
from minillm.training.task import Task

LEAST = {"steps": 1, "epochs": 1, "accumulate": 1, "validations": 1, "log_every": 1}
LEAST |= dict.fromkeys(("learning_rate", "warmup", "final", "patience", "checkpoint_seconds"), 0)


@dataclass(frozen=True)
class Options:
    """The length of a run, its learning rate, and the actions between its steps.

    Exactly one of ``steps``, ``minutes`` and ``epochs`` is set.  The run ends after that many.  The
    schedule of the learning rate counts in the same unit.  With ``patience``, the run stops early
    after that many validations in a row without a new lowest loss.

    Source: Goodfellow, Bengio and Courville (2016), "Deep learning", algorithm 7.1, for the
    patience.
    """

    steps: int | None = None
    minutes: float | None = None
    epochs: int | None = None
    learning_rate: float = 3e-3
    warmup: float = 0.02  # fraction of the run
    final: float = 0.01  # of the learning rate, at the end of the run
    schedule: str = "cosine"  # one of SCHEDULES
    clip: float | None = 1.0  # largest norm of the gradient
    accumulate: int = 1  # batches per step
    validations: int | None = 10  # evenly over the run; None: one after each epoch
    patience: int = 0  # validations; 0: the run never stops early
    checkpoint_seconds: float = 30.0
    log_every: int = 10  # steps per line of metrics
    precision: str = "float32"  # of the loss's and the gradient's products: see use_precision
    steps_per_epoch: float = 0.0  # of the task: see :meth:`of`

    def __post_init__(self) -> None:
        if (self.steps, self.minutes, self.epochs).count(None) != 2:
            raise ValueError(
                "expected exactly one of steps, minutes and epochs, "
                f"found {self.steps}, {self.minutes} and {self.epochs}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected one of {PRECISIONS}, found {self.precision}")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ValueError(f"{name}: expected a finite number from {least}, found {value}")
        for name in ("minutes", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}: expected above 0, found {value}")

    def of(self, task: Task) -> "Options":
        """These options with the length of the task's epochs.

        InputError if the options need epochs and the task has none.
        """
        batches = getattr(task, "batches_per_epoch", None)
        if batches is not None:
            return replace(self, steps_per_epoch=batches / self.accumulate)
        if self.epochs is not None:
            raise InputError("--epochs: these training data have none: give --steps or --minutes")
        if self.validations is None:
            raise InputError("--validations: these training data have no epochs: give a number")
        return self

    def progress(self, step: int, seconds: float) -> float:
        """The fraction of the run that is done, from 0; the run ends at 1."""
        if self.steps is not None:
            return step / self.steps
        if self.epochs is not None:
            return step / (self.epochs * self.steps_per_epoch)
        assert self.minutes is not None
        return seconds / (60 * self.minutes)

    def epoch(self, step: int) -> float:
        """The number of epochs after ``step`` steps."""
        return step / self.steps_per_epoch

    @property
    def in_epochs(self) -> bool:
        """Whether the run is counted, or validated, in epochs."""
        return self.epochs is not None or self.validations is None

    def gives_up(self, summary: Summary) -> bool:
        """Whether the patience is exhausted."""
        return 0 < self.patience <= summary.waited

    def rate(self, progress: float) -> float:
        """The learning rate at a progress."""
        return self.learning_rate * SCHEDULES[self.schedule](progress, self.warmup, self.final)

    def validates(self, before: float, done: float, summary: Summary) -> bool:
        """Whether to validate after a step from the progress ``before`` to ``done``.

        The end of a run is always validated.  A run with a time limit skips a validation if past
        ones took more than a twentieth of its time.  Other runs never skip one, and so are
        repeatable.
        """
        if done >= 1:
            return True
        if self.validations is None:
            due = int(self.epoch(summary.step)) > int(self.epoch(summary.step - 1))
        else:
            due = int(done * self.validations) > int(before * self.validations)
        expensive = summary.validation_seconds > summary.seconds / 20
        return due and (self.minutes is None or not expensive)
