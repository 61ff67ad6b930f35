"""What a hostile or careless caller may do without crashing the interpreter."""

import pytest
from attacks import survives

from minillm import kernels_info

pytestmark = pytest.mark.skipif(
    kernels_info()["available"] == ["numpy"], reason="the compiled kernels are not built"
)
TWINS = pytest.mark.parametrize("twin", kernels_info()["available"])
deep = pytest.mark.deep


def shorter(seconds, twin):
    """Less time for the originals, where only races between lines of Python can go wrong."""
    return seconds // 4 if twin == "numpy" else seconds


def test_sizes_and_shapes(kernels):
    survives("sizes_and_shapes", kernels)


@deep
def test_threads_that_go_on_from_one_state(kernels):
    survives("two_threads_from_one_state", kernels, shorter(5, kernels))


@deep
@TWINS
def test_integers_that_another_thread_writes(twin):
    survives("integers_that_another_thread_writes", twin, shorter(4, twin))
