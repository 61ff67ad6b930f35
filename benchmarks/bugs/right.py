"""Right ops at places that are difficult for a checker, which must say nothing.

Each function draws an op and its arguments.  Everywhere the derivative exists: a random point
is on no kink.  This file is frozen.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import ops
from .cases import CASES

Generator = np.random.Generator
Drawn = tuple[Callable, tuple[Any, ...]]
RIGHT: dict[str, Callable[[Generator], Drawn]] = {}


def right(what: str) -> Callable[[Callable], Callable]:
    """Enter a function under the words that the table shows."""

    def enter(draw: Callable[[Generator], Drawn]) -> Callable[[Generator], Drawn]:
        RIGHT[what] = draw
        return draw

    return enter


@right("an op of the set, in turns")
def an_op(rng: Generator) -> Drawn:
    name = list(CASES)[rng.integers(len(CASES))]
    return getattr(ops, name), CASES[name](rng)


@right("relu of 50 random numbers")
def random_relu(rng: Generator) -> Drawn:
    return ops.relu, (rng.standard_normal(50),)


@right("relu of numbers around 1e-3")
def near_the_kink(rng: Generator) -> Drawn:
    return ops.relu, (1e-3 * rng.standard_normal(10),)


@right("absolute values and a clip")
def kinks(rng: Generator) -> Drawn:
    def op(x):
        size = np.where(x > 0, x, -x)
        return np.clip(size, 0.1, 1), lambda dy: dy * np.sign(x) * ((size > 0.1) & (size < 1))

    return op, (rng.standard_normal(20),)


@right("the maximum over 20 random steps")
def random_maximum(rng: Generator) -> Drawn:
    return ops.max_pool, (rng.standard_normal((2, 20, 2)), np.array([20, 15]))


@right("linear, inputs of 1e6")
def large_linear(rng: Generator) -> Drawn:
    x, W, b = CASES["linear"](rng)
    return ops.linear, (1e6 * x, W, b)


@right("layer norm, inputs of 1e6")
def large_norm(rng: Generator) -> Drawn:
    x, gain, bias = CASES["layer_norm"](rng)
    return ops.layer_norm, (1e6 * x, gain, bias)


@right("layer norm, inputs of 1e-6")
def small_norm(rng: Generator) -> Drawn:
    x, gain, bias = CASES["layer_norm"](rng)
    return ops.layer_norm, (1e-6 * x, gain, bias)


@right("squares of 1e6")
def large_squares(rng: Generator) -> Drawn:
    return lambda x: (x**2, lambda dy: 2 * x * dy), (1e6 * rng.standard_normal(6),)


@right("squares of 1e-6")
def small_squares(rng: Generator) -> Drawn:
    return lambda x: (x**2, lambda dy: 2 * x * dy), (1e-6 * rng.standard_normal(6),)


@right("outputs of 1e-9")
def small_outputs(rng: Generator) -> Drawn:
    def op(x):
        y, backward = ops.tanh(x)
        return 1e-9 * y, lambda dy: backward(1e-9 * dy)

    return op, (rng.standard_normal(6),)


@right("logarithm and reciprocal near 0")
def poles(rng: Generator) -> Drawn:
    x = 10.0 ** rng.uniform(-4, 0, 6)
    return lambda x: ((np.log(x), 1 / x), _poles_backward(x)), (x,)


def _poles_backward(x):
    def backward(dy, dz=None):
        return (0 if dy is None else dy / x) - (0 if dz is None else dz / x**2)

    return backward


@right("a short vector by its length")
def short_vector(rng: Generator) -> Drawn:
    return ops.normalise, (1e-3 * rng.standard_normal((2, 3)),)


@right("scores masked by -1e9")
def masked_scores(rng: Generator) -> Drawn:
    x, kept = rng.standard_normal((3, 4)), rng.random((3, 4)) < 0.6
    return lambda x: (np.where(kept, x**2, -1e9), lambda dy: np.where(kept, 2 * x * dy, 0)), (x,)


@right("scores masked by minus infinity")
def infinite_scores(rng: Generator) -> Drawn:
    x, kept = rng.standard_normal((3, 4)), rng.random((3, 4)) < 0.6
    return lambda x: (np.where(kept, x**2, -np.inf), lambda dy: np.where(kept, 2 * x * dy, 0)), (x,)


@right("softmax of scores masked by -1e9")
def masked_softmax(rng: Generator) -> Drawn:
    x, kept = rng.standard_normal((3, 4)), rng.random((3, 4)) < 0.6
    kept[:, 0] = True

    def op(x):
        y, backward = ops.softmax(np.where(kept, x, -1e9))
        return y, lambda dy: np.where(kept, backward(dy), 0)

    return op, (x,)


@right("softmax of scores up to 100")
def saturated_softmax(rng: Generator) -> Drawn:
    return ops.softmax, (30 * rng.standard_normal((3, 4)),)


@right("a sigmoid at 10 to 30")
def saturated(rng: Generator) -> Drawn:
    return ops.sigmoid, (rng.choice([-1, 1], 8) * rng.uniform(10, 30, 8),)


@right("a sum that is always 1")
def no_slope(rng: Generator) -> Drawn:
    def op(x):
        y, backward = ops.softmax(x)
        return y.sum(axis=-1), lambda dy: backward(np.broadcast_to(dy[:, None], y.shape))

    return op, (rng.standard_normal((3, 4)),)


@right("a sine of 100 x")
def sine(rng: Generator) -> Drawn:
    return lambda x: (np.sin(100 * x), lambda dy: 100 * np.cos(100 * x) * dy), (
        rng.standard_normal(8),
    )


@right("an exponential of 5 x")
def exponential(rng: Generator) -> Drawn:
    return lambda x: (np.exp(5 * x), lambda dy: 5 * np.exp(5 * x) * dy), (rng.standard_normal(8),)


@right("linear in float32")
def single_linear(rng: Generator) -> Drawn:
    return ops.linear, tuple(a.astype(np.float32) for a in CASES["linear"](rng))


@right("tanh in float32")
def single_tanh(rng: Generator) -> Drawn:
    return ops.tanh, (rng.standard_normal(8).astype(np.float32),)
