"""The backward of every op, at every coordinate, on both twins."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.testing import check_gradients, strategies

# Sizes small enough to check every coordinate, and T of at least 3: a
# recurrence that forgets a step passes at 1 and 2.
BOUNDS = {
    "B": (1, 3), "T": (3, 5), "S": (1, 4), "I": (1, 3), "O": (1, 4),
    "H": (1, 3), "D": (2, 5), "V": (2, 6), "N": (1, 2),
    "A": (1, 4), "J": (2, 4), "E": (1, 3), "M": (1, 2), "G": (1, 2), "K": (2, 4),
    "C": (1, 4), "F": (1, 4), "P": (1, 4),
}  # fmt: skip


def test_every_op_has_a_case():
    functions = {name for name, value in vars(ops).items() if inspect.isfunction(value)}
    assert {name for name in functions if not name.endswith("_step")} == set(CASES)


@pytest.mark.again
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=max(12, settings.default.max_examples // 2))
@given(data=st.data(), rng=strategies.generators())
def test_backward_is_the_derivative_of_the_forward(name, kernels, data, rng):
    sizes = data.draw(strategies.sizes(**BOUNDS))
    op, args = CASES[name](rng, **sizes)
    with use_kernels(kernels):
        check_gradients(op, *args, rng=rng)


@pytest.mark.again
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@settings(max_examples=max(12, settings.default.max_examples // 2))
@given(data=st.data(), rng=strategies.generators())
def test_backward_of_a_recurrence_over_ids(name, kernels, data, rng):
    sizes = data.draw(strategies.sizes(**BOUNDS))
    op, (_x, *rest) = CASES[name](rng, **sizes)
    ids = rng.integers(0, sizes["I"], (sizes["B"], sizes["T"]))
    with use_kernels(kernels):
        check_gradients(op, ids, *rest, rng=rng)


def test_backward_of_linear_without_a_bias(kernels):
    rng = np.random.default_rng(0)
    x, W, _b = CASES["linear"](rng)[1]
    with use_kernels(kernels):
        check_gradients(ops.linear, x, W, rng=rng)
