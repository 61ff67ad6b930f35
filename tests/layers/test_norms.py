"""Norms under the names of their weights: layer norm, and RMS norm where there is no bias."""

import numpy as np
import pytest

from minillm.layers.norms import norm
from minillm.testing import check_gradients

pytestmark = pytest.mark.usefixtures("both_twins")
D, EPS = 4, 0.1
BIASES = pytest.mark.parametrize("bias", [True, False])


def drawn(bias):
    """An input, a gain, and a bias if there is one."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 3, D)), *rng.standard_normal((2 if bias else 1, D))


def by_names(weights):
    return dict(zip(("p.gain", "p.bias"), weights, strict=False))


def in_order(gradients, weights):
    assert gradients.keys() == by_names(weights).keys()
    return [gradients[name] for name in by_names(weights)]


def expected(x, gain, bias=None):
    centred = x if bias is None else x - x.mean(axis=-1, keepdims=True)
    y = gain * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS)
    return y if bias is None else y + bias


@BIASES
def test_a_norm_and_its_gradients(bias):
    x, *weights = drawn(bias)

    def op(x, *weights):
        y, norm_backward = norm(by_names(weights), "p", x, EPS)

        def backward(dy):
            dx, gradients = norm_backward(dy)
            return dx, *in_order(gradients, weights)

        return y, backward

    np.testing.assert_allclose(op(x, *weights)[0], expected(x, *weights), rtol=1e-12)
    check_gradients(op, x, *weights, rng=np.random.default_rng(1))
