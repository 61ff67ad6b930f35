"""The length of a training, its learning rate, and the actions between its steps."""

from dataclasses import dataclass, replace

import numpy as np

from minillm._kernels import PRECISIONS
from minillm.errors import InputError
from minillm.option import option, option_of, types_of
from minillm.training.checkpoints import Summary
from minillm.training.schedules import SCHEDULES
from minillm.training.task import Task


@dataclass(frozen=True)
class Options:
    """The length of a run, its learning rate, and the actions between its steps.

    Exactly one of ``steps``, ``minutes`` and ``epochs`` is set.  The run ends after that many.  The
    schedule of the learning rate counts in the same unit.  With ``patience``, the run stops early
    after that many validations in a row without a new lowest loss.

    Source: Goodfellow, Bengio and Courville (2016), "Deep learning", algorithm 7.1, for the
    patience.
    """

    steps: int | None = option(None, "steps", least=1, most=10**12)
    minutes: float | None = option(None, "minutes", above=0, most=1e6)
    epochs: int | None = option(None, "epochs", least=1, most=10**6)
    learning_rate: float = option(3e-3, "peak of the learning rate", least=0)
    warmup: float = option(0.02, "fraction of the run in which the rate rises", least=0, below=1)
    final: float = option(0.01, "fraction of the peak, at the end of the run", least=0)
    schedule: str = option("cosine", "one of SCHEDULES")
    clip: float | None = option(1.0, "largest norm of the gradient", above=0)
    accumulate: int = option(1, "batches per step", least=1, most=10**6)
    validations: int | None = option(
        10, "validations, evenly over the run; None: one after each epoch", least=1, most=10**6
    )
    patience: int = option(0, "validations; 0: the run never stops early", least=0, most=10**6)
    checkpoint_seconds: float = option(30.0, "seconds between two checkpoints", least=0, most=1e9)
    log_every: int = option(10, "steps per line of metrics", least=1)
    precision: str = option("float32", "of products: see use_precision", choices=PRECISIONS)
    steps_per_epoch: float = option(0.0, "of the task: see :meth:`of`")

    def __post_init__(self) -> None:
        if (self.steps, self.minutes, self.epochs).count(None) != 2:
            raise ValueError(
                "expected exactly one of steps, minutes and epochs, "
                f"found {self.steps}, {self.minutes} and {self.epochs}"
            )
        for name, hint in types_of(Options).items():
            declared, value = option_of(Options, name), getattr(self, name)
            number = value.item() if isinstance(value, np.generic) else value
            if value is not None and not declared.allows(number):
                expected = declared.expected(hint.plain)
                raise ValueError(f"{name}: expected {expected}, found {value}")

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
