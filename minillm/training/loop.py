"""The training loop: one for every model.

The loop knows dictionaries of arrays and a *task*, no model and no data.  To train something new,
write a task (four methods, see :class:`Task`) and hand it over:

    model = MyModel(config, rng)
    task = MyTask(model, data, ...)
    summary = train(model.params, AdamW(model.params), task, Options(minutes=5), rng)

- ``training_loss(rng)`` takes the next batch from wherever the task keeps its data, runs the
  model forward, and returns the loss, its backward, and how many tokens it was the mean of.
  Random numbers (dropout, shuffling) come from ``rng`` only.  Where a job has several ranks, it is
  the loss of this one's rows: see :mod:`minillm.training.parallel`.  (A task that has not heard of
  ranks computes the whole batch on each of them, which is right, but no faster.)
- ``validation_loss()`` is the mean loss over the held-out data, without dropout.  A task may also
  have ``measures``, a dictionary that this call fills: they are shown and logged beside the loss.
- ``state()`` and ``restore(...)`` save and restore all that the task itself changes from step to
  step: the position in the data, a hidden state.  With these, a run of a number of steps that is
  resumed gives the same bits as one that was never stopped.
- ``batches_per_epoch``, which need not be there, is how many batches make an epoch: as much as all
  of the training data.  Without it, a run has no epochs.
- ``sample()``, which need not be there, is a line of text to show after each validation.

:class:`minillm.training.language_model.LanguageModelTask` is one to copy from.  A task should
keep no backward, so that the arrays of one batch are freed before the next.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Protocol

import numpy as np

from minillm.errors import DivergedError, InputError
from minillm.mpi import ranks
from minillm.training.checkpoints import Store, Summary, save_checkpoint
from minillm.training.optimisers import Optimiser, clip_global_norm
from minillm.training.parallel import clock_of_rank_0, mean_over_ranks, on_any_rank
from minillm.training.progress import ProgressDisplay
from minillm.training.schedules import inverse_square_root, warmup_cosine
from minillm.training.trained import Trained

Backward = Callable[..., Mapping[str, np.ndarray]]


class Task(Protocol):
    """What is trained: a model and its data, as the loop sees them."""

    def training_loss(
        self, rng: np.random.Generator
    ) -> tuple[float | np.floating, Backward, int]: ...

    def validation_loss(self) -> float: ...

    def state(self) -> tuple[dict[str, np.ndarray], dict]: ...

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None: ...


@dataclass(frozen=True)
class Options:
    """How long and how fast to train.

    The run ends after ``steps`` steps, ``minutes`` minutes or ``epochs`` epochs: give one.  Its
    progress, which the learning rate follows, is counted in the same unit.  With ``patience`` it
    ends before, after so many validations in a row without a lower loss than the lowest so far.

    Source: Goodfellow, Bengio and Courville (2016), "Deep learning", algorithm 7.1, for the
    patience.
    """

    steps: int | None = None
    minutes: float | None = None
    epochs: int | None = None
    learning_rate: float = 3e-3
    warmup: float = 0.02  # fraction of the run
    final: float = 0.01  # fraction of the learning rate at the end, along a cosine
    schedule: str = "cosine"  # or "inverse-sqrt"
    clip: float | None = 1.0  # largest norm of the gradient
    accumulate: int = 1  # batches to one step
    validations: int | None = 10  # evenly over the run; None: one after each epoch
    patience: int = 0  # validations; 0: it never ends before
    checkpoint_seconds: float = 30.0
    log_every: int = 10  # steps to one line of metrics
    steps_per_epoch: float | None = None  # of the task: see :meth:`of`

    def __post_init__(self) -> None:
        if (self.steps, self.minutes, self.epochs).count(None) != 2:
            raise ValueError("steps, minutes, epochs: expected exactly one of the three")

    def of(self, task: Task) -> "Options":
        """These options with the length of the task's epochs.

        InputError if they are needed, and the task has none.
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
        """The fraction of the run that is done, from 0; 1 or more is its end."""
        if self.steps is not None:
            return step / self.steps
        if self.epochs is not None:
            return step / (self.epochs * self._steps_per_epoch())
        assert self.minutes is not None
        return seconds / (60 * self.minutes)

    def epoch(self, step: int) -> float:
        """How many epochs so many steps are."""
        return step / self._steps_per_epoch()

    def _steps_per_epoch(self) -> float:
        assert self.steps_per_epoch is not None, "Options.of was not called"
        return self.steps_per_epoch

    @property
    def in_epochs(self) -> bool:
        """Whether the run is counted, or measured, in epochs."""
        return self.epochs is not None or self.validations is None

    def gives_up(self, summary: Summary) -> bool:
        """Whether the last validations were without a better loss, as many as the patience."""
        return 0 < self.patience <= summary.waited

    def rate(self, progress: float) -> float:
        """The learning rate at a progress."""
        if self.schedule == "inverse-sqrt":
            return self.learning_rate * inverse_square_root(progress, self.warmup)
        return self.learning_rate * warmup_cosine(progress, self.warmup, self.final)

    def validates(self, before: float, done: float, summary: Summary) -> bool:
        """Whether to validate after a step that took the progress from ``before`` to ``done``.

        Always at the end.  A run on the clock skips one where they have taken more than a
        twentieth of its time so far; any other run never does, for it is to be repeatable.
        """
        if done >= 1:
            return True
        if self.validations is None:
            due = int(self.epoch(summary.step)) > int(self.epoch(summary.step - 1))
        else:
            due = int(done * self.validations) > int(before * self.validations)
        expensive = summary.validation_seconds > summary.seconds / 20
        return due and (self.minutes is None or not expensive)


def train(
    params: Mapping[str, np.ndarray],
    optimiser: Optimiser,
    task: Task,
    options: Options,
    rng: np.random.Generator,
    store: Store | None = None,
    start: Summary | None = None,
    quiet: bool = False,
    unit: str = "token",
    items: Callable[[], int] | None = None,
    trained: Trained | None = None,
) -> Summary:
    """Trains ``params`` on ``task`` and returns how far it came.

    With a ``store``, the run is logged and saved there as it goes, the best weights too.
    ``start`` is where to go on from: what :func:`restore_checkpoint` returned.  Ctrl-C or SIGTERM
    ends the run after the current step and saves it, a second one at once.  ``quiet`` shows no
    progress, which is counted in ``unit``: ``items()`` is how many there were, by default the
    tokens of the losses.  ``trained`` says which weights have gradients; None: all.

    All ranks of a job call this alike: see :mod:`minillm.training.parallel`.

    DivergedError if the loss or the gradient stops being finite.
    """
    summary = start or Summary()
    options = options.of(task)
    done = options.progress(summary.step, summary.seconds)
    position = "epoch {:,.1f}" if options.in_epochs else "step {:,}"
    quiet = quiet or ranks().rank > 0
    with interrupts() as interrupted, ProgressDisplay(done, quiet, unit, position) as display:
        recorder = _Recorder(params, optimiser, task, options, rng, store, summary, display)
        recorder.items = items or recorder.items
        while done < 1 and not options.gives_up(summary) and not on_any_rank(interrupted.is_set()):
            learning_rate = options.rate(done)
            loss, grads, tokens = _gradient(task, rng, options.accumulate, trained)
            loss, grads, tokens = mean_over_ranks(loss, grads, tokens)
            norm = clip_global_norm(grads, options.clip)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergedError(
                    f"the training diverged at step {summary.step + 1}: loss {loss:.4g}, gradient "
                    f"norm {norm:.4g}, learning rate {learning_rate:.4g}: a lower one may help"
                )
            optimiser.step(grads, learning_rate)
            del grads  # freed before the next batch
            done = recorder.after_step(done, loss, tokens, learning_rate, norm)
        summary.interrupted = done < 1 and not options.gives_up(summary)
        recorder.save()
    return summary


class _Recorder:
    """What happens between the steps: counting, metrics, validation, checkpoints."""

    def __init__(
        self,
        params: Mapping[str, np.ndarray],
        optimiser: Optimiser,
        task: Task,
        options: Options,
        rng: np.random.Generator,
        store: Store | None,
        summary: Summary,
        display: ProgressDisplay,
    ):
        self.params, self.optimiser, self.task, self.rng = params, optimiser, task, rng
        self.options, self.store, self.summary, self.display = options, store, summary, display
        self.items: Callable[[], int] = lambda: summary.tokens  # what the display counts
        self.started_at = time.monotonic() - summary.seconds
        self.saved_at = summary.seconds
        if store is not None:
            store.trim_metrics(summary.step)

    def after_step(
        self, before: float, loss: float, tokens: int, learning_rate: float, norm: float
    ) -> float:
        """Counts the step, does what is due after it, and returns the progress."""
        summary = self.summary
        summary.step += 1
        summary.tokens += tokens
        summary.recent_loss += loss
        summary.seconds = self._now()
        done = self.options.progress(summary.step, summary.seconds)
        self.display.update(done, self._position(), loss, self.items(), summary.seconds)
        if summary.step % self.options.log_every == 0:
            self._log(learning_rate, norm)
        if self.options.validates(before, done, summary):
            self._validate()
        if summary.seconds - self.saved_at >= self.options.checkpoint_seconds:
            self.save()
        return done

    def _now(self) -> float:
        """The seconds of the run so far, on rank 0's clock."""
        return clock_of_rank_0(time.monotonic() - self.started_at)

    def _position(self) -> float:
        """How far the training is, as it is shown: in epochs or in steps."""
        step = self.summary.step
        return self.options.epoch(step) if self.options.in_epochs else step

    def _log(self, learning_rate: float, norm: float) -> None:
        summary = self.summary
        if self.store is not None:
            self.store.append_metrics(
                {
                    "step": summary.step,
                    "seconds": round(summary.seconds, 3),
                    "tokens": summary.tokens,
                    "loss": summary.recent_loss / self.options.log_every,
                    "learning_rate": learning_rate,
                    "gradient_norm": norm,
                }
            )
        summary.recent_loss = 0.0

    def _validate(self) -> None:
        """Measures the validation loss; the best weights so far are stored."""
        summary = self.summary
        started_at = self._now()
        loss = self.task.validation_loss() if ranks().rank == 0 else math.nan
        loss = ranks().broadcast(loss)
        summary.validation_seconds += self._now() - started_at
        measures = getattr(self.task, "measures", {})
        self.display.validated(self._position(), loss, measures)
        self.display.sampled(self.task)
        if self.store is not None:
            self.store.append_metrics(
                {
                    "step": summary.step,
                    "seconds": round(summary.seconds, 3),
                    "validation_loss": loss,
                    **measures,
                }
            )
        if not loss < summary.best_loss:
            summary.waited += 1
            return
        summary.best_loss, summary.best_step, summary.waited = loss, summary.step, 0
        if self.store is not None:
            values = {"step": summary.step, "validation_loss": loss}
            self.store.save_model(self.params, values)

    def save(self) -> None:
        """A checkpoint; before the first validation, its weights are the best, too."""
        summary = self.summary
        summary.seconds = self._now()
        if self.store is not None:
            if math.isinf(summary.best_loss):
                self.store.save_model(self.params, {"step": summary.step})
            state = (self.params, self.optimiser, self.task, self.rng)
            save_checkpoint(self.store, *state, summary)
        self.saved_at = self._now()


def _gradient(
    task: Task, rng: np.random.Generator, accumulate: int, trained: Trained | None = None
) -> tuple[float, dict[str, np.ndarray], int]:
    """The loss and gradient of ``accumulate`` batches as if they were one, and their tokens.

    The loss of a batch is the mean over its tokens, and so is weighted by their number.
    """

    def gradients(backward: Backward) -> dict[str, np.ndarray]:
        return dict(backward()) if trained is None else trained.gradients(backward)

    # The loop reports a loss that overflows; NumPy need not warn of it.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        loss, backward, tokens = task.training_loss(rng)
        grads = gradients(backward)
        if accumulate == 1:
            return float(loss), grads, tokens
        loss = float(loss) * tokens
        for g in grads.values():
            g *= tokens
        for _ in range(accumulate - 1):
            del backward  # and with it the last batch's activations
            next_loss, backward, next_tokens = task.training_loss(rng)
            loss += float(next_loss) * next_tokens
            tokens += next_tokens
            for name, g in gradients(backward).items():
                grads[name] += next_tokens * g
        for g in grads.values():
            g /= max(1, tokens)  # a rank without rows has none
    return loss / max(1, tokens), grads, tokens


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; with a second one, all is as before."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # only the main thread can receive signals
        return

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    numbers = (signal.SIGINT, signal.SIGTERM)  # batch systems send SIGTERM before they kill
    previous = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, handle)
        yield event
    finally:
        restore()
