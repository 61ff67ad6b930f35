"""Forward and backward against PyTorch on the ops' cases, where it is installed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.testing import strategies

from .cases import BOUNDS, on_its_twins, tuple_of

pytest.importorskip("torch")
import torch_reference


@on_its_twins(torch_reference.OPS)
@settings(max_examples=max(4, settings.default.max_examples // 2))
@given(data=st.data(), rng=strategies.generators())
def test_against_pytorch(name, kernels, data, rng):
    args, upstream = torch_reference.case_of(name, rng, **data.draw(strategies.sizes(**BOUNDS)))
    theirs = torch_reference.op(name, args, upstream)
    with use_kernels(kernels):
        outputs, backward = getattr(ops, name)(*args)
        gradients = backward(*upstream)
    for ours, expected in zip((outputs, gradients), theirs, strict=True):
        for one, other in zip(tuple_of(ours), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)
