import importlib
import pkgutil
from types import SimpleNamespace

import numpy as np
import pytest

import minillm
from minillm._kernels import (
    INSTRUCTION_SETS,
    ORIGINALS,
    kernels_info,
    select_kernels,
    use_threads,
)

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
    return select_kernels(request.param)


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
