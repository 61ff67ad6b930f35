import ctypes
import importlib
import mmap
import os
import pkgutil
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

import minillm
from minillm._kernels import INSTRUCTION_SETS, ORIGINALS, kernels_info, select_kernels, use_threads
from minillm.quantised.panels import Panels

ROOMS = tuple(
    f"minillm.{room}."
    for room in ("ops", "layers", "models", "quantised", "training", "decoding", "text")
)

for module in pkgutil.walk_packages(minillm.__path__, "minillm."):
    if module.name.startswith(ROOMS):
        importlib.import_module(module.name)  # where the originals are registered


@pytest.fixture(params=INSTRUCTION_SETS, scope="session")
def twin(request):
    """The Cython kernels of each instruction set that this machine has."""
    missing = kernels_info()["missing"]
    if request.param in missing:
        pytest.skip(f"{request.param}: {missing[request.param]}")
    kernels = select_kernels(request.param)
    return between_guards(kernels) if os.environ.get("TEST_GUARDS") else kernels


def between_guards(kernels):
    """The kernels, which get copies of their arguments behind which nobody may read."""
    in_place = {"adam_update", "block_step"}

    def guarded(function):
        return lambda *args, **named: function(
            *map(at_ends, args), **{name: at_ends(value) for name, value in named.items()}
        )

    functions = {name: f for name, f in vars(kernels).items() if callable(f)}
    changed = {name: guarded(f) for name, f in functions.items() if name not in in_place}
    return SimpleNamespace(**vars(kernels) | changed)


def at_ends(value):
    if isinstance(value, np.ndarray):
        if value.flags.c_contiguous:
            return at_an_end(value)
        return at_an_end(value.T).T if value.flags.f_contiguous else value
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(map(at_ends, value))
    if isinstance(value, Panels):
        return replace(value, **{f.name: at_ends(getattr(value, f.name)) for f in fields(value)})
    return value


def at_an_end(array):
    """A copy behind which nobody may read: its last byte is the last one of a page."""
    size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    copy = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    end = ctypes.c_void_p(copy.ctypes.data + array.nbytes)
    assert ctypes.CDLL(None).mprotect(end, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return copy


@pytest.fixture(scope="session")
def original():
    """The NumPy originals, under the names of their twins."""
    return SimpleNamespace(name="numpy", **ORIGINALS)


@pytest.fixture
def with_threads():
    """A function that runs another on a given number of threads, however busy the machine is."""
    threads = pytest.importorskip("minillm._kernels._threads", reason="the kernels are not built")
    threads.always_all(True)

    def run(count, function, *arguments):
        with use_threads(count):
            return function(*arguments)

    yield run
    threads.always_all(False)


@pytest.fixture
def same_bits(with_threads):
    """A function that returns what another does, after it has on any number of threads."""

    def run(function, *arguments, counts=(2, 3)):
        one = with_threads(1, function, *arguments)
        for count in counts:
            many = with_threads(count, function, *arguments)
            pairs = (one, many) if isinstance(one, (tuple, list)) else ([one], [many])
            for ours, theirs in zip(*pairs, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        return one

    return run
