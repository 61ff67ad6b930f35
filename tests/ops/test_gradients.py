"""The backward of every op, at every coordinate, on both twins."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.testing import check_gradients, strategies

from .cases import BOUNDS, on_its_twins


def test_every_op_has_a_case():
    functions = {name for name, value in vars(ops).items() if inspect.isfunction(value)}
    assert {name for name in functions if not name.endswith("_step")} == set(CASES)


@pytest.mark.again
@on_its_twins()
@settings(max_examples=max(12, settings.default.max_examples // 2))
@given(data=st.data(), rng=strategies.generators())
def test_backward_is_the_derivative_of_the_forward(name, kernels, data, rng):
    sizes = data.draw(strategies.sizes(**BOUNDS))
    op, args = CASES[name](rng, **sizes)
    with use_kernels(kernels):
        check_gradients(op, *args, rng=rng)
