"""Which kernels run: the NumPy originals or one of their Cython twins.

Every hot loop is written twice.  `<topic>.py` is the NumPy original, the text
to read.  `<topic>.pyx` is its Cython twin, with the same functions, compiled
once for each instruction set as `_<topic>_<instruction set>`.  An op asks

    kernels = active_kernels()

once, in its forward, and calls `kernels.matmul(a, b)` and so on; its backward
uses the same object, so that it cannot switch twin half-way.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import inspect
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from minillm.errors import InputError

TOPICS = (
    "matmul",
    "embedding",
    "recurrent",
    "attention",
    "cross_entropy",
    "activations",
    "normalisation",
    "adam",
    "ngram",
    "word2vec",
)
INSTRUCTION_SETS = ("avx512", "avx2", "baseline")  # the best first
CHOICES = ("auto", "numpy", "cython", *INSTRUCTION_SETS)


class KernelsUnavailable(InputError, ImportError):
    """The kernels that were asked for are not built, or not for this CPU."""


def active_kernels() -> SimpleNamespace:
    """The kernels in force here: a namespace of functions, and their `name`."""
    return _chosen.get() or _default()


@contextlib.contextmanager
def use_kernels(name: str) -> Iterator[SimpleNamespace]:
    """Run the kernels `name` inside a `with` block, in this thread only.

    name is one of "auto", "numpy", "cython" (the best instruction set that the
    CPU has), "baseline", "avx2", "avx512".  Raises KernelsUnavailable where
    they cannot run.
    """
    token = _chosen.set(select_kernels(name))
    try:
        yield active_kernels()
    finally:
        _chosen.reset(token)


def kernels_info() -> dict[str, Any]:
    """Which kernels are in force and why, and what else could run here."""
    missing = _missing()
    active = active_kernels()
    if _chosen.get():
        why = "chosen by use_kernels"
    elif _from_environment() != "auto":
        why = f"MINILLM_KERNELS={_from_environment()}"
    elif active.name != "numpy":
        why = "the best that this CPU has"
    else:
        why = next(iter(missing.values()))
    cpu = _compiled_cpu()
    return {
        "kernels": active.name,
        "why": why,
        "available": ["numpy", *(name for name in INSTRUCTION_SETS if name not in missing)],
        "missing": missing,
        "openmp": bool(cpu and cpu.openmp()),
        "threads": cpu.thread_count() if cpu and active.name != "numpy" else 1,
    }


def select_kernels(name: str) -> SimpleNamespace:
    """The kernels called `name`, as for use_kernels."""
    if name not in CHOICES:
        raise InputError(f"kernels: expected one of {', '.join(CHOICES)}; found {name!r}")
    if name == "numpy":
        return _load("numpy")
    missing = _missing()
    if name in INSTRUCTION_SETS:
        if name in missing:
            raise KernelsUnavailable(f"kernels: {name} cannot run here: {missing[name]}")
        return _load(name)
    for best in INSTRUCTION_SETS:
        if best not in missing:
            return _load(best)
    if name == "cython":
        raise KernelsUnavailable(f"kernels: cython cannot run here: {next(iter(missing.values()))}")
    return _load("numpy")


_chosen: contextvars.ContextVar[SimpleNamespace | None] = contextvars.ContextVar(
    "minillm_kernels", default=None
)


def _from_environment() -> str:
    name = os.environ.get("MINILLM_KERNELS") or "auto"
    if name not in CHOICES:
        raise InputError(f"MINILLM_KERNELS: expected one of {', '.join(CHOICES)}; found {name!r}")
    return name


@functools.cache
def _default() -> SimpleNamespace:
    return select_kernels(_from_environment())


@functools.cache
def _load(name: str) -> SimpleNamespace:
    """Gather the functions of every topic; the NumPy originals say which there are."""
    functions = {}
    for topic in TOPICS:
        original = importlib.import_module(f"{__name__}.{topic}")
        twin = (
            original if name == "numpy" else importlib.import_module(f"{__name__}._{topic}_{name}")
        )
        for key, function in vars(original).items():
            if (
                inspect.isfunction(function)
                and function.__module__ == original.__name__
                and key[0] != "_"
            ):
                functions[key] = getattr(twin, key)
    return SimpleNamespace(name=name, **functions)


@functools.cache
def _missing() -> dict[str, str]:
    """The instruction sets that cannot run here, each with the reason."""
    cpu, missing = _compiled_cpu(), {}
    for name in INSTRUCTION_SETS:
        if cpu is None:
            missing[name] = _not_built(name)
        elif name not in cpu.instruction_sets():
            missing[name] = f"this CPU has no {name}"
        else:
            try:
                _load(name)
            except ModuleNotFoundError:
                missing[name] = _not_built(name)
            except (ImportError, AttributeError) as error:
                missing[name] = f"built, but it does not load ({error})"
    return missing


@functools.cache
def _compiled_cpu() -> Any:
    """The compiled module that asks the CPU what it can do; None where nothing was compiled."""
    _thread_limit()
    try:
        cpu = importlib.import_module(f"{__name__}._cpu")
    except ImportError:
        return None
    if hasattr(os, "register_at_fork"):
        # A fork copies OpenMP's memory but not its threads: the child would wait for them for ever.
        os.register_at_fork(after_in_child=lambda: cpu.set_threads(1))
    return cpu


def _not_built(name: str) -> str:
    """Why there is no compiled module, as far as the build left word."""
    try:
        word = json.loads((Path(__file__).parent / "build.json").read_text())
    except OSError:
        return "the Cython kernels are not built"
    return word.get(name, "the Cython kernels are not built for it")


def _thread_limit() -> None:
    """Refuse a nonsense MINILLM_NUM_THREADS; the kernels read it when they are loaded."""
    limit = os.environ.get("MINILLM_NUM_THREADS") or "1"
    if not limit.isdecimal() or int(limit) < 1:
        raise InputError(f"MINILLM_NUM_THREADS: expected a whole number from 1; found {limit!r}")
