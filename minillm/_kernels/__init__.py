"""The choice of kernels: the NumPy originals or one of their Cython twins.

Every hot loop is written twice.  The NumPy original is on the page of its idea,
next to the op that calls it.  It is marked

    @twinned
    def gelu_forward(x): ...

Its Cython twin ``gelu_forward`` has the same parameters.  It is in a
`<topic>.pyx` of this folder, which is compiled once for each instruction set as
`_<topic>_<instruction set>`.  A call of ``gelu_forward`` runs the twin if
Cython kernels are in force, else the original.  Both return the same arrays in
the same layout, so the backward of one may follow the forward of the other.
A twin trusts its arguments: with sizes that do not fit, it may end the process.
So its callers check the arguments.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from minillm.errors import InputError, short

TOPICS = (
    *("matmul", "embedding", "recurrent", "attention", "cross_entropy", "activations"),
    *("normalisation", "rotary", "adam", "step", "quantised"),
    *("scan", "ngram", "word2vec", "bpe"),
)
INSTRUCTION_SETS = ("avx512", "avx2", "baseline")  # best first
PRECISIONS = ("float32", "bfloat16")
CHOICES = ("auto", "numpy", "cython", *INSTRUCTION_SETS)
MOST_THREADS = 1_000_000  # that may be asked for

Function = TypeVar("Function", bound=Callable[..., Any])

ORIGINALS: dict[str, Callable[..., Any]] = {}  # by the name of the twin


class KernelsUnavailable(InputError, ImportError):
    """The chosen kernels are not built, or not for this CPU."""


def twinned(original: Function) -> Function:
    """Mark a NumPy original: its Cython twin runs instead where it is in force.

    The twin has the original's name.  An underscore before it does not count: ``quantised_rows`` is
    the twin of ``_quantised_rows``, which only its own module calls.  The original itself is
    available as ``__wrapped__``.
    """
    name = original.__name__.removeprefix("_")
    ORIGINALS[name] = original

    @functools.wraps(original)
    def either(*arguments: Any, **named: Any) -> Any:
        return getattr(_chosen.get() or _default(), name, original)(*arguments, **named)

    return either  # type: ignore[return-value]


@contextlib.contextmanager
def use_kernels(name: str) -> Iterator[None]:
    """Run the kernels `name` inside a `with` block, in this thread only.

    name is one of "auto", "numpy", "cython" (the best instruction set of the CPU),
    "baseline", "avx2", "avx512".  Raises KernelsUnavailable if they cannot run.
    """
    token = _chosen.set(select_kernels(name))
    try:
        yield
    finally:
        _chosen.reset(token)


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Run kernels on at most `count` threads inside a `with` block, in this Python thread only.

    The bits of all results are the same.  MINILLM_NUM_THREADS remains the limit.  The NumPy
    kernels do not notice: NumPy's own threads belong to its library.  Raises InputError if
    count is not a whole number from 1 on.
    """
    number = _number_of_threads("threads", count, hasattr(count, "__index__"))
    threads = _compiled("_threads")
    before = threads.set_threads(number) if threads else 0
    try:
        yield
    finally:
        if threads:
            threads.set_threads(before)


@contextlib.contextmanager
def keep_memory() -> Iterator[None]:
    """Keep the memory of all kernels inside a `with` block, for a next step that needs it again.

    Where MINILLM_POOL_BYTES is set, it remains the limit.
    """
    pool = _compiled("_pool")
    if pool:
        pool.keep_for_next_step(True)
    try:
        yield
    finally:
        if pool:
            pool.keep_for_next_step(False)


@contextlib.contextmanager
def use_precision(name: str) -> Iterator[None]:
    """Multiply float32 matrices in a precision inside a `with` block, in this Python thread only.

    name is "float32", or "bfloat16": the operands of ``linear`` and of the recurrences over
    sequences are rounded, forward and backward (:mod:`minillm.ops.bfloat16`).  Any kernels round;
    :func:`slow_bfloat16` says whether it makes these faster.  Raises InputError for another name.
    """
    if name not in PRECISIONS:
        raise InputError(
            f"expected one of {', '.join(PRECISIONS)}; found {short(name)}", "precision"
        )
    token = _precision.set(name)
    try:
        yield
    finally:
        _precision.reset(token)


def rounds_to_bfloat16() -> bool:
    """Whether the operands of products are rounded: see :func:`use_precision`."""
    return _precision.get() == "bfloat16"


def slow_bfloat16() -> str:
    """Why products in bfloat16 are no faster here than those in float32; "" if they are."""
    if _active().name == "numpy":
        return "NumPy has no bfloat16"
    if _active().name != "avx512":
        return f"the kernels for {_active().name} have no instruction for it"
    return "" if _compiled("_cpu").has_bfloat16() else "this CPU has no AVX512-BF16"


def kernels_info() -> dict[str, Any]:
    """The kernels in force, the reason, and the others that could run here."""
    missing = {name: why for name in INSTRUCTION_SETS if (why := _obstacle(name))}
    active = _active()
    if _chosen.get():
        why = "chosen by use_kernels"
    elif (chosen := os.environ.get("MINILLM_KERNELS") or "auto") != "auto":
        why = f"MINILLM_KERNELS={chosen}"
    elif active.name != "numpy":
        why = "the best that this CPU has"
    else:
        why = next(iter(missing.values()))
    return {
        "kernels": active.name,
        "why": why,
        "available": ["numpy", *(name for name in INSTRUCTION_SETS if name not in missing)],
        "missing": missing,
        "threads": _compiled("_threads").thread_count() if active.name != "numpy" else 1,
    }


def select_kernels(name: str, asked_by: str = "kernels") -> SimpleNamespace:
    """The kernels for a name of :func:`use_kernels`, with their compiled functions.

    "numpy" has no compiled functions, so the originals run.
    """
    if name not in CHOICES:
        found = f"expected one of {', '.join(CHOICES)}; found {short(name)}"
        raise InputError(found, asked_by)
    if name == "numpy":
        return _load("numpy")
    candidates = (name,) if name in INSTRUCTION_SETS else INSTRUCTION_SETS
    for best in candidates:  # the others are not loaded, which would take 10 ms
        if not _obstacle(best):
            return _load(best)
    if name == "auto":
        return _load("numpy")
    why = _obstacle(candidates[0])
    raise KernelsUnavailable(f"kernels: {name} cannot run here: {why}")


_chosen: contextvars.ContextVar[SimpleNamespace | None] = contextvars.ContextVar(
    "minillm_kernels", default=None
)
_precision: contextvars.ContextVar[str] = contextvars.ContextVar(
    "minillm_precision", default="float32"
)


def _active() -> SimpleNamespace:
    """The kernels in force."""
    return _chosen.get() or _default()


@functools.cache
def _default() -> SimpleNamespace:
    return select_kernels(os.environ.get("MINILLM_KERNELS") or "auto", "MINILLM_KERNELS")


@functools.cache
def _load(name: str) -> SimpleNamespace:
    """Load the compiled functions of every topic; none for "numpy"."""
    functions: dict[str, Callable] = {}
    for topic in TOPICS if name != "numpy" else ():
        module = importlib.import_module(f"{__name__}._{topic}_{name}")
        exported = {
            key: value
            for key, value in vars(module).items()
            if getattr(value, "__module__", None) == f"{__name__}._{topic}"
            and not (key.startswith("_") or isinstance(value, type))
        }
        if not exported:  # or the originals would run, under the name of the twins
            raise ImportError(f"{module.__name__} has no kernels: it is of another version")
        functions |= exported
    return SimpleNamespace(name=name, **functions)


@functools.cache
def _obstacle(name: str) -> str:
    """Why an instruction set cannot run here; "" if it can."""
    cpu = _compiled("_cpu")
    if cpu is None:
        return _not_built(name)
    if name not in cpu.instruction_sets():
        return f"this CPU has no {name}"
    try:
        _load(name)
    except ModuleNotFoundError:
        return _not_built(name)
    except ImportError as error:
        return f"built, but it does not load ({error})"
    return ""


@functools.cache
def _compiled(name: str) -> Any:
    """A compiled module that has no twins; None if it was not built."""
    # The kernels read it when they are loaded.
    _number_of_threads("MINILLM_NUM_THREADS", os.environ.get("MINILLM_NUM_THREADS") or "1")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ImportError:
        return None


def _not_built(name: str) -> str:
    """Why there is no compiled module; the build wrote its failures to build.json."""
    try:
        failures = json.loads((Path(__file__).parent / "build.json").read_text())
    except OSError:
        return "the Cython kernels are not built"
    without_compiler = _compiled("_cpu") is None and next(iter(failures.values()), "")
    return failures.get(name) or without_compiler or "the Cython kernels are not built for it"


def _number_of_threads(name: str, asked: Any, is_number: bool = True) -> int:
    """The number of threads that is asked for.  InputError unless it is from 1 to MOST_THREADS."""
    digits = str(asked)
    is_number = is_number and digits.isdecimal() and len(digits) <= len(str(MOST_THREADS))
    if not (is_number and 1 <= int(digits) <= MOST_THREADS):
        raise InputError(
            f"{name}: expected a whole number from 1 to {MOST_THREADS}; found {short(asked)}"
        )
    return int(digits)
