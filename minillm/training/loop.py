"""The training loop: one for every model.

The loop knows only dictionaries of arrays and a :class:`minillm.training.task.Task`, not the model
or the data:

    model = MyModel(config, rng)
    task = MyTask(model, data, ...)
    summary = train(model.params, AdamW(model.params), task, Options(minutes=5), rng)
"""

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from minillm._kernels import keep_memory, use_precision
from minillm.errors import DivergedError
from minillm.mpi import ranks
from minillm.training.checkpoints import Summary, save_checkpoint
from minillm.training.optimisers import Optimiser, clip_global_norm
from minillm.training.options import Options
from minillm.training.parallel import mean_over_ranks
from minillm.training.progress import ProgressDisplay
from minillm.training.task import Task
from minillm.training.trained import Trained


def train(
    params: Mapping[str, np.ndarray],
    optimiser: Optimiser,
    task: Task,
    options: Options,
    rng: np.random.Generator,
    store: Any = None,
    start: Summary | None = None,
    quiet: bool = False,
    unit: str = "token",
    trained: Trained | None = None,
) -> Summary:
    """Train ``params`` on ``task``; the progress at the end.

    On one machine, without files, signals and metrics, the loop would be

        step, done, best = 0, 0.0, math.inf
        while done < 1:
            learning_rate = options.rate(done)  # rises in the warm-up, then falls
            loss, backward, tokens = task.training_loss(rng)  # of the next batch
            grads = backward()
            clip_global_norm(grads, options.clip)
            optimiser.step(grads, learning_rate)  # changes params in place
            step += 1
            done = options.progress(step, seconds)
            if validation is due:
                validation_loss = task.validation_loss()  # without dropout, on held-out data
                if validation_loss < best:
                    best = validation_loss
                    save(params)

    With a ``store``, such as a folder of :mod:`minillm.runs`, the run is logged and saved there,
    including its best weights.  ``start`` is the summary to resume from, as
    :func:`restore_checkpoint` returns it.  Ctrl-C or SIGTERM ends the run after the current step
    and saves it; a second one ends it at once: see :func:`interrupts`.  ``quiet`` hides the
    progress; ``unit`` names what its speed counts, the task's ``rows`` or the tokens of the losses.
    ``trained`` is the part of the model that is trained; None: all of it.

    All ranks of a job call this with the same arguments: see :mod:`minillm.training.parallel`.

    DivergedError if the loss or the gradient is not finite.
    """
    summary = start or Summary()
    options, trained = options.of(task), trained or Trained(params)
    done = options.progress(summary.step, summary.seconds)
    position = "epoch {:,.1f}" if options.in_epochs else "step {:,}"
    quiet = quiet or ranks().rank > 0
    shown = ProgressDisplay(done, quiet, unit, position)
    with interrupts(quiet) as interrupted, shown as display, keep_memory():
        recorder = Recorder(params, optimiser, task, options, rng, store, summary, display)
        while done < 1 and not options.gives_up(summary):
            if any(ranks().gather(interrupted.is_set())):
                break  # a signal to one rank ends the training of all
            learning_rate = options.rate(done)
            with use_precision(options.precision):
                loss, grads, tokens = _gradient(task, rng, options.accumulate, trained)
            loss, grads, tokens = mean_over_ranks(loss, grads, tokens)
            norm = clip_global_norm(grads, options.clip)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergedError(
                    f"the training diverged at step {summary.step + 1}: loss {loss:.4g}, gradient "
                    f"norm {norm:.4g}, learning rate {learning_rate:.4g}: a lower one may help"
                )
            optimiser.step(grads, learning_rate)
            trained.merge()
            del grads  # freed before the next batch
            done = recorder.after_step(done, loss, tokens, learning_rate, norm)
        summary.interrupted = done < 1 and not options.gives_up(summary)
        recorder.save()
    return summary


def _gradient(
    task: Task, rng: np.random.Generator, accumulate: int, trained: Trained
) -> tuple[float, dict[str, np.ndarray], int]:
    """The loss and gradient of ``accumulate`` batches as if they were one, and their tokens.

    The loss of a batch is a mean over its tokens, so it is weighted by their number.
    """
    # The loop reports a loss that overflows; NumPy need not warn of it.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        loss, backward, tokens = task.training_loss(rng)
        grads = trained.gradients(backward)
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
            for name, g in trained.gradients(backward).items():
                grads[name] += next_tokens * g
        for g in grads.values():
            g /= max(1, tokens)  # a rank without rows has none
    return loss / max(1, tokens), grads, tokens


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


@contextmanager
def interrupts(quiet: bool = False) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C or SIGTERM sets; a second one acts as usual.

    A line answers the first, unless ``quiet``.  Python runs a handler between two instructions, and
    a call of a kernel may last for minutes.  So a thread, which C wakes, writes the line; it also
    ends the process a second after a second signal, unless that has ended the training.  Files are
    replaced whole: the last checkpoint stays.  Where Ctrl-C raises KeyboardInterrupt, as in a
    notebook, it waits for the kernel, because the process goes on.
    """
    event, ended = threading.Event(), threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals only reach the main thread
        return

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def answer() -> None:
        count = 0
        while received := read.recv(1):  # the number of a signal; nothing when all is over
            number = received[0]
            if number not in previous:
                continue
            count += 1
            if count == 1 and not quiet:
                _say(b"stops after this step; again: at once")
            if previous[number] is signal.default_int_handler or count != 2:
                continue
            if not ended.wait(1):
                _say(b"stopped")
                os._exit(130)

    numbers = (signal.SIGINT, signal.SIGTERM)  # batch systems send SIGTERM before they kill
    previous = {int(number): signal.getsignal(number) for number in numbers}
    read, written = socket.socketpair()
    written.setblocking(False)
    outer = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        for number in numbers:
            signal.signal(number, handle)
        yield event
    finally:
        restore()
        signal.set_wakeup_fd(outer)
        ended.set()
        written.close()
        thread.join()
        read.close()


def _say(line: bytes) -> None:
    """Write a line to standard error below a progress bar."""
    with suppress(OSError):
        os.write(2, b"\nminillm: " + line + b"\n")
