"""Right ops, and ways to make them wrong, for the tests of the checker."""

import numpy as np

from minillm.testing import GradientError, check_gradients
from minillm.testing.calls import as_tuple, bare


def refusal(op, *args, seed=0, check=check_gradients, **options):
    """The message with which the checker refuses an op; empty where it accepts it."""
    try:
        check(op, *args, rng=np.random.default_rng(seed), **options)
    except GradientError as error:
        error.locate = False  # test_lines.py
        return str(error)
    return ""


def spoiled(op, spoil):
    """The op with gradients that ``spoil(gradients, args, upstream)`` has changed."""

    def wrong(*args):
        y, backward = op(*args)

        def wrong_backward(*upstream):
            gradients = [g.copy() for g in as_tuple(backward(*upstream))]
            return bare(tuple(spoil(gradients, args, upstream)))

        wrong_backward.__wrapped__ = backward  # its parameters are named in the message
        return y, wrong_backward

    wrong.__wrapped__ = op
    return wrong


def off(op, factor, argument=0, largest_only=False):
    """The op with a gradient that is off by a factor, everywhere or at its largest coordinate."""

    def spoil(gradients, args, upstream):
        g = gradients[argument]
        where = np.unravel_index(np.abs(g).argmax(), g.shape) if largest_only else ...
        g[where] *= factor
        return gradients

    return spoiled(op, spoil)


def function(f, slope):
    return lambda x: (f(x), lambda dy: dy * slope(x))


def relu(x):
    return np.maximum(x, 0), lambda dy: dy * (x > 0)


def linear(x, W, b):
    return x @ W + b, lambda dy: (dy @ W.T, x.T @ dy, dy.sum(axis=0))


def linear_arguments(rng, B=3, I=4, O=2):
    return rng.standard_normal((B, I)), rng.standard_normal((I, O)), rng.standard_normal(O)


def softmax(x):
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)
    return y, lambda dy: y * (dy - np.sum(dy * y, axis=-1, keepdims=True))


def rnn(x, h0, W):
    """h_t = tanh(x_t + h_{t-1} W), x (T, H) -> hs (T, H), h_T (H,)."""
    hs = [h0]
    for x_t in x:
        hs.append(np.tanh(x_t + hs[-1] @ W))

    def backward(dhs, dh_last=None):
        dh = np.zeros_like(h0) if dh_last is None else dh_last
        dx, dW = np.zeros_like(x), np.zeros_like(W)
        for t in reversed(range(len(x))):
            da = (dh + (0 if dhs is None else dhs[t])) * (1 - hs[t + 1] ** 2)
            dx[t], dW = da, dW + np.outer(hs[t], da)
            dh = da @ W.T
        return dx, dh, dW

    return (np.array(hs[1:]), hs[-1]), backward


def rnn_arguments(rng, T=4, H=3):
    return rng.standard_normal((T, H)), rng.standard_normal(H), rng.standard_normal((H, H)) / H


def writes_to_upstream(x):
    def backward(dy):
        dy *= 2
        return dy

    return 2 * x, backward
