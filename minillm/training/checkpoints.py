"""Checkpoints: everything needed to resume a training; a store decides where they are saved.

The arrays are named ``params/...``, ``optimiser/...`` and ``task/...``;
the values, which JSON can hold, are numbers of the optimiser and of the task, the state of the
random generator, and the progress of the training.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, TypeVar

import numpy as np

from minillm.errors import InputError, short
from minillm.training.layout import Arrays
from minillm.training.optimisers import Optimiser
from minillm.training.parallel import check_replicas
from minillm.training.task import Task

T = TypeVar("T")


@dataclass
class Summary:
    """The progress of a run: the numbers that a checkpoint stores."""

    step: int = 0
    seconds: float = 0.0  # of training, validation and saving, resumed sessions included
    tokens: int = 0
    best_loss: float = math.inf  # of validation
    best_step: int = 0
    waited: int = 0  # validations since then
    validation_seconds: float = 0.0  # of the seconds
    recent_loss: float = 0.0  # sum since the last line of metrics
    interrupted: bool = field(default=False, compare=False)


class Store(Protocol):
    """A place for the results of a training, such as a folder of :mod:`minillm.runs`."""

    resume_path: Any  # of its checkpoint, for messages

    def append_metrics(self, record: dict) -> None: ...

    def trim_metrics(self, step: int) -> None: ...

    def save_model(self, params: Arrays, values: dict) -> None: ...

    def save_resume(self, arrays: Arrays, values: dict) -> None: ...

    def load_resume(self) -> tuple[dict[str, np.ndarray], dict]: ...


def save_checkpoint(
    store: Store,
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
    values = {
        "progress": progress,
        "optimiser": optimiser_values,
        "task": task_values,
        "rng": rng.bit_generator.state,
    }
    store.save_resume(arrays, values)


def restore_checkpoint(
    store: Store,
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
        return numbers_from(Summary, values["progress"])


@contextmanager
def reading_checkpoint(name: str) -> Iterator[None]:
    """Turn the errors that damaged values cause into an InputError with the name of their file."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{name}: an entry is missing: {error}") from None
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{name}: it is damaged: {error}") from None


def numbers_from(cls: type[T], values: Any) -> T:
    """A dataclass of numbers from its JSON form; a missing number gets its default.

    ValueError unless all numbers lie in 0..2**63.  A number that is infinite by default may be
    infinite.
    """
    entries = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    if not isinstance(values, dict) or not values.keys() <= entries.keys():
        raise ValueError(f"expected the numbers {', '.join(entries)}, found {short(values)}")
    for name, value in values.items():
        whole = entries[name].type in (int, "int")
        fits = type(value) is int or (type(value) is float and not whole)
        most = entries[name].default if entries[name].default == math.inf else 2**63
        if not fits or not 0 <= value <= most:
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name}: expected {kind} from 0 up, found {short(value)}")
    return cls(**values)


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
