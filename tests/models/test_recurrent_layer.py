"""The recurrent layer that models stack: its bidirectional form, at every coordinate."""

import numpy as np
import pytest
from hypothesis import given, settings

from minillm import use_kernels
from minillm.models import recurrent_layer
from minillm.testing import check_gradients, strategies


@pytest.mark.parametrize("cell", recurrent_layer.CELLS)
@settings(max_examples=5)
@given(sizes=strategies.sizes(B=(1, 3), T=(3, 5), I=(1, 3), H=(1, 3)), rng=strategies.generators())
def test_gradients_of_a_bidirectional_layer(kernels, cell, sizes, rng):
    B, T, I, H = sizes.values()
    parts = 2 if cell == "lstm" else 1
    lengths = rng.integers(0, T + 1, B)
    params = {}
    for direction in ("forward", "reverse"):
        params |= recurrent_layer.new_parameters(cell, f"p.{direction}", I, H, rng, np.float64)

    def op(x, *arrays):
        state, weights = arrays[: 2 * parts], arrays[2 * parts :]
        (hs, lasts), layer_backward = recurrent_layer.run_bidirectional(
            cell,
            dict(zip(params, weights, strict=True)),
            "p",
            x,
            (state[:parts], state[parts:]),
            lengths,
        )

        def backward(dhs, *dlasts):
            dhs = np.zeros_like(hs) if dhs is None else dhs
            dx, dstates, gradients = layer_backward(dhs, (dlasts[:parts], dlasts[parts:]))
            return dx, *dstates[0], *dstates[1], *(gradients[name] for name in params)

        return (hs, *lasts[0], *lasts[1]), backward

    states = [rng.standard_normal((B, H)) for _ in range(2 * parts)]
    with use_kernels(kernels):
        check_gradients(op, rng.standard_normal((B, T, I)), *states, *params.values(), rng=rng)
