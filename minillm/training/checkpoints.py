"""Checkpoints: everything needed to resume a training.

A store saves them, such as the folder of a run: see :mod:`minillm.runs.folder`.  The arrays are
named ``params/...``, ``optimiser/...`` and ``task/...``; the values, which JSON can hold, are
numbers of the optimiser and of the task, the state of the random generator, and the progress of the
training.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import msgspec
import numpy as np

from minillm.errors import InputError
from minillm.training.layout import Arrays
from minillm.training.optimisers import Optimiser
from minillm.training.parallel import check_replicas
from minillm.training.task import Task

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Number = Annotated[float, msgspec.Meta(ge=0, lt=2**62)]
Loss = Annotated[float, msgspec.Meta(ge=-(2**62))]  # not NaN


@dataclass
class Summary:
    """The progress of a run: the numbers that a checkpoint stores."""

    step: Count = 0
    seconds: Number = 0.0  # of training, validation and saving, resumed sessions included
    tokens: Count = 0
    best_loss: Loss = math.inf  # of validation
    best_step: Count = 0
    waited: Count = 0  # validations since then
    validation_seconds: Number = 0.0  # of the seconds
    recent_loss: Loss = 0.0  # sum since the last line of metrics
    interrupted: bool = field(default=False, compare=False)


def save_checkpoint(
    store: Any,
    params: Arrays,
    optimiser: Optimiser,
    task: Task,
    rng: np.random.Generator,
    summary: Summary,
) -> None:
    """Store everything needed to resume.

    DivergedError if the ranks of a job no longer have the same weights.
    """
    check_replicas(params)
    optimiser_arrays, optimiser_values = optimiser.state()
    task_arrays, task_values = task.state()
    arrays = {f"params/{name}": p for name, p in params.items()}
    arrays |= {f"optimiser/{name}": array for name, array in optimiser_arrays.items()}
    arrays |= {f"task/{name}": array for name, array in task_arrays.items()}
    progress = asdict(summary)
    del progress["interrupted"]
    if math.isinf(summary.best_loss):  # no validation yet; JSON has no infinity
        del progress["best_loss"]
    values = {
        "progress": progress,
        "optimiser": optimiser_values,
        "task": task_values,
        "rng": rng.bit_generator.state,
    }
    store.save_resume(arrays, values)


def restore_checkpoint(
    store: Any,
    params: Arrays,
    optimiser: Optimiser,
    task: Task,
    rng: np.random.Generator,
) -> Summary:
    """Restore the result of :func:`save_checkpoint` in place; the progress so far.

    InputError names an entry that is missing or does not fit.
    """
    name = str(store.resume_path)
    arrays, values = store.load_resume()
    groups: dict[str, dict[str, np.ndarray]] = {"params": {}, "optimiser": {}, "task": {}}
    for key, array in arrays.items():
        group, _, rest = key.partition("/")
        groups.setdefault(group, {})[rest] = array
    copy_arrays(groups["params"], params, name)
    copied, _ = optimiser.state()
    copy_arrays(groups["optimiser"], copied, name)
    with reading_checkpoint(name):
        optimiser.restore(groups["optimiser"], values["optimiser"])
        task.restore(groups["task"], values["task"])
        rng.bit_generator.state = values["rng"]
        return msgspec.convert(values["progress"], Summary)


@contextmanager
def reading_checkpoint(name: str) -> Iterator[None]:
    """Turn the errors that damaged values cause into an InputError with the name of their file."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{name}: an entry is missing: {error}") from None
    except (TypeError, ValueError, OverflowError, AttributeError, msgspec.MsgspecError) as error:
        raise InputError(f"{name}: it is damaged: {error}") from None


def copy_arrays(arrays: Arrays, into: Arrays, name: str) -> None:
    """Copy ``arrays`` into the arrays of ``into``, by name.

    InputError names a tensor that is missing, does not fit, or has a NaN or an infinite number.
    """
    for key, target in into.items():
        if key not in arrays:
            raise InputError(f"{name}: the tensor {key!r} is missing")
        array = arrays[key]
        if array.shape != target.shape or array.dtype != target.dtype:
            raise InputError(
                f"{name}: the tensor {key!r}: expected {target.dtype} {target.shape}, "
                f"found {array.dtype} {array.shape}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"{name}: the tensor {key!r}: expected finite numbers, found a NaN or an infinite "
                "one: the training had diverged, or the file is damaged"
            )
        target[...] = array
