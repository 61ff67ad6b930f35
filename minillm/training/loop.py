"""The training loop: one for every model.

The loop knows only dictionaries of arrays and a :class:`minillm.training.task.Task`, not the model
or the data:

    model = MyModel(config, rng)
    task = MyTask(model, data, ...)
    summary = train(model.params, AdamW(model.params), task, Options(minutes=5), rng)
"""

import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from minillm._kernels import keep_memory, use_precision
from minillm.errors import DivergedError
from minillm.layers.types import Backward
from minillm.mpi import ranks
from minillm.training.checkpoints import Summary
from minillm.training.optimisers import Optimiser, clip_global_norm
from minillm.training.options import Options
from minillm.training.parallel import mean_over_ranks
from minillm.training.progress import ProgressDisplay
from minillm.training.recorder import Recorder
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
    and saves it; a second one ends it at once.  ``quiet`` hides the progress; ``unit`` names what
    its speed counts, the task's ``rows`` or the tokens of the losses.  ``trained`` is the part of
    the model that is trained; None: all of it.

    All ranks of a job call this with the same arguments: see :mod:`minillm.training.parallel`.

    DivergedError if the loss or the gradient is not finite.
    """
    summary = start or Summary()
    options = options.of(task)
    done = options.progress(summary.step, summary.seconds)
    position = "epoch {:,.1f}" if options.in_epochs else "step {:,}"
    quiet = quiet or ranks().rank > 0
    shown = ProgressDisplay(done, quiet, unit, position)
    with interrupts() as interrupted, shown as display, keep_memory():
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
            if trained is not None:
                trained.merge()
            del grads  # freed before the next batch
            done = recorder.after_step(done, loss, tokens, learning_rate, norm)
        summary.interrupted = done < 1 and not options.gives_up(summary)
        recorder.save()
    return summary


def _gradient(
    task: Task, rng: np.random.Generator, accumulate: int, trained: Trained | None = None
) -> tuple[float, dict[str, np.ndarray], int]:
    """The loss and gradient of ``accumulate`` batches as if they were one, and their tokens.

    The loss of a batch is a mean over its tokens, so it is weighted by their number.
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
    """Yield an event that the first Ctrl-C or SIGTERM sets; a second one acts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals only reach the main thread
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
