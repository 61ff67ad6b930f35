"""The inputs of each op, drawn from a generator: the same for all checkers.

A bug must be able to show: recurrences have four steps, nonzero initial states and unequal
lengths, one of them 0; ids and targets repeat; matrices are square where possible, so that a
transposed one fits; activations see points near zero and far from it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Generator = np.random.Generator
CASES: dict[str, Callable[[Generator], tuple[Any, ...]]] = {}


def case(draw: Callable[[Generator], tuple[Any, ...]]) -> Callable[[Generator], tuple[Any, ...]]:
    CASES[draw.__name__] = draw
    return draw


def normal(rng: Generator, *shapes: int | tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return tuple(rng.standard_normal(shape) for shape in shapes)


def lengths_of(rng: Generator, *values: int) -> np.ndarray:
    return rng.permutation(values)


@case
def linear(rng):
    return normal(rng, (2, 3, 3), (3, 3), 3)


@case
def embedding(rng):
    return rng.permutation([0, 1, 2, 3, 0, 2]).reshape(2, 3), *normal(rng, (4, 2))


def activation(rng):
    x = 2 * rng.standard_normal(10)
    x[:4] = rng.uniform(0.5, 1, 4) * [0.08, -0.08, 5, -5]
    return (x.reshape(2, 5),)


CASES |= dict.fromkeys(
    ["tanh", "sigmoid", "relu", "silu", "gelu", "exact_gelu", "softplus"], activation
)


@case
def leaky_relu(rng):
    return *activation(rng), rng.uniform(0.1, 0.4, 5)


@case
def softmax(rng):
    return (2 * rng.standard_normal((2, 3, 4)),)


@case
def log_softmax(rng):
    return softmax(rng)


@case
def normalise(rng):
    return normal(rng, (2, 4))


@case
def layer_norm(rng):
    return normal(rng, (2, 3, 4), 4, 4)


@case
def add_norm(rng):
    return normal(rng, (2, 2, 4), (2, 2, 4), 4, 4)


@case
def rms_norm(rng):
    return normal(rng, (2, 3, 4), 4)


@case
def batch_norm(rng):
    return normal(rng, (4, 4), 4, 4)


@case
def rotary(rng):
    return *normal(rng, (2, 2, 3, 4)), rng.integers(1, 20, (2, 1)) + np.arange(3)


@case
def dropout(rng):
    kept = rng.permutation([True] * 7 + [False] * 3)
    return rng.standard_normal((2, 5)), kept.reshape(2, 5)


@case
def scale_and_shift(rng):
    return normal(rng, (2, 3, 3), (3, 1), (2, 1, 3))


@case
def tied(rng):
    return normal(rng, (3, 3), (3, 3))


@case
def bilinear(rng):
    return normal(rng, (3, 2), (2, 2, 2), (3, 2))


@case
def cross_entropy(rng):
    logits, targets = 2 * rng.standard_normal((2, 4, 4)), rng.permutation([0, 1, 2, 3, 0, 0, 2, 2])
    mask = rng.permutation([True] * 6 + [False] * 2)  # some of the six have the same target
    return logits, targets.reshape(2, 4), mask.reshape(2, 4), rng.uniform(0.5, 2, 4)


@case
def reverse(rng):
    return rng.standard_normal((3, 4, 2)), lengths_of(rng, 4, 2, 0)


@case
def mean_pool(rng):
    return reverse(rng)


@case
def max_pool(rng):
    return reverse(rng)


@case
def convolution(rng):
    return normal(rng, (2, 5, 2), (3, 2, 2), 2)


def recurrence(rng, *, gates, states, biases, B=3, T=4, I=3, H=2):
    x, *rest = normal(rng, (B, T, I), *[(B, H)] * states)
    W_x, W_h, *b = normal(rng, (I, gates * H), (H, gates * H), *[gates * H] * biases)
    return x, *rest, W_x / I**0.5, W_h, *b, lengths_of(rng, T, T - 2, 0)


@case
def rnn(rng):
    return recurrence(rng, gates=1, states=1, biases=1)


@case
def lstm(rng):
    return recurrence(rng, gates=4, states=2, biases=1)


@case
def gru(rng):
    return recurrence(rng, gates=3, states=1, biases=2)


@case
def additive_attention(rng):
    arrays = normal(rng, (3, 3, 2), (3, 4, 2), (3, 4, 2), (2, 3), (2, 3), 3)
    return *arrays, lengths_of(rng, 4, 2, 0)


@case
def multiplicative_attention(rng):
    return *normal(rng, (3, 3, 2), (3, 3, 2), (3, 3, 2), (2, 2)), lengths_of(rng, 3, 2, 0)


@case
def scaled_attention(rng):
    q, k, v = normal(rng, (2, 4, 3, 2), (2, 2, 3, 2), (2, 2, 3, 2))
    return 2 * q, k, v, lengths_of(rng, 3, 2)


@case
def attention_flow(rng):
    arrays = normal(rng, (2, 4, 2), (2, 3, 2), 2, 2, 2)
    return *arrays, lengths_of(rng, 4, 2), lengths_of(rng, 3, 2)
