"""The length of a training, its learning rate, and the actions between its steps."""

from dataclasses import dataclass, replace
from functools import partial

from minillm._kernels import PRECISIONS
from minillm.errors import InputError
from minillm.option import checked, option
from minillm.training.checkpoints import Summary
from minillm.training.schedules import SCHEDULES
from minillm.training.task import Task

of_run = partial(option, group="the run", changeable=True)
of_descent = partial(option, group="gradient descent")


@dataclass(frozen=True)
class LoopSettings:
    """Options of the loop that every training has, also on the command line."""

    minutes: float | None = of_run(
        None,
        "train for M minutes; the learning rate follows the clock",
        "M",
        above=0,
        most=1e6,
    )
    steps: int | None = of_run(None, "train for N steps", "N", least=1, most=10**12)
    epochs: int | None = of_run(
        None, "train until the training data have been read N times", "N", least=1, most=10**6
    )
    precision: str = option(
        "float32",
        "precision of the operands of products in training: with bfloat16 they have half the bytes",
        choices=PRECISIONS,
        group="the run",
        rare=True,
    )
    validations: int | None = of_run(
        10,
        "measure the validation loss N times, evenly over the run; fewer times if that would take "
        "more than a twentieth of the minutes",
        "N",
        least=1,
        most=10**6,
        rare=True,
    )
    patience: int = of_run(
        0,
        "stop after N validations in a row without a better loss; 0: never",
        "N",
        least=0,
        most=10**6,
        rare=True,
    )
    checkpoint_seconds: float = of_run(
        30.0, "save for --resume every S seconds", "S", least=0, most=1e9, rare=True
    )
    learning_rate: float = of_descent(
        3e-3, "peak learning rate, which falls to a hundredth", "R", above=0, changeable=True
    )
    warmup: float = of_descent(
        0.02, "fraction of the run in which the rate rises", "F", least=0, below=1, rare=True
    )
    clip: float | None = of_descent(
        1.0, "largest norm of the gradient", "N", above=0, changeable=True, rare=True
    )
    accumulate: int = of_descent(
        1, "accumulate gradients over N batches per step", "N", least=1, most=10**6, rare=True
    )


@dataclass(frozen=True)
class Options(LoopSettings):
    """The length of a run, its learning rate, and the actions between its steps.

    Exactly one of ``steps``, ``minutes`` and ``epochs`` is set.  The run ends after that many.  The
    schedule of the learning rate counts in the same unit.  With ``patience``, the run stops early
    after that many validations in a row without a new lowest loss.  Without ``validations``, there
    is one after each epoch.

    Source: Goodfellow, Bengio and Courville (2016), "Deep learning", algorithm 7.1, for the
    patience.
    """

    final: float = option(0.01, "fraction of the peak, at the end of the run", least=0)
    schedule: str = option("cosine", "one of SCHEDULES")
    log_every: int = option(10, "steps per line of metrics", least=1)
    steps_per_epoch: float = option(0.0, "of the task: see :meth:`of`")

    def __post_init__(self) -> None:
        checked(Options, vars(self))
        if (self.steps, self.minutes, self.epochs).count(None) != 2:
            raise InputError(
                "expected exactly one of steps, minutes and epochs, "
                f"found {self.steps}, {self.minutes} and {self.epochs}"
            )

    def of(self, task: Task) -> "Options":
        """These options with the length of the task's epochs.

        InputError if the options need epochs and the task has none.
        """
        if task.batches_per_epoch is not None:
            return replace(self, steps_per_epoch=task.batches_per_epoch / self.accumulate)
        if self.epochs is not None:
            raise InputError("these training data have none: give steps or minutes", "epochs")
        if self.validations is None:
            raise InputError("these training data have no epochs: give a number", "validations")
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
