"""One case of every op for the gradient checker.

Each function draws arguments of the given sizes and returns ``op, args`` for
``check_gradients(op, *args, rng=rng)``.  The tests draw the sizes, and fail if an
op of ``minillm.ops`` is missing here; ``minillm gradcheck`` takes the defaults.
Recurrences have unequal lengths and nonzero initial states, because errors in a
backward hide elsewhere.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minillm import ops

Case = tuple[Callable, tuple[Any, ...]]
Generator = np.random.Generator


CASES: dict[str, Callable[..., Case]] = {}


def case(draw: Callable[..., Case]) -> Callable[..., Case]:
    """Enter a function into ``CASES``, under the name of its op."""
    CASES[draw.__name__] = draw
    return draw


def _lengths(rng: Generator, B: int, T: int) -> np.ndarray:
    return rng.integers(0, T + 1, B)


@case
def linear(rng: Generator, B: int = 3, T: int = 4, I: int = 4, O: int = 5) -> Case:
    return ops.linear, (
        rng.standard_normal((B, T, I)),
        rng.standard_normal((I, O)),
        rng.standard_normal(O),
    )


@case
def embedding(rng: Generator, B: int = 3, T: int = 5, V: int = 6, D: int = 3) -> Case:
    ids = rng.integers(0, V, (B, T))  # repeats are likely: their gradients must add up
    return lambda E: ops.embedding(ids, E), (rng.standard_normal((V, D)),)


@case
def tanh(rng: Generator, B: int = 4, D: int = 5) -> Case:
    return ops.tanh, (rng.standard_normal((B, D)),)


@case
def sigmoid(rng: Generator, B: int = 4, D: int = 5) -> Case:
    return ops.sigmoid, (rng.standard_normal((B, D)),)


@case
def relu(rng: Generator, B: int = 4, D: int = 5) -> Case:
    x = rng.standard_normal((B, D))
    return ops.relu, (x + 0.1 * np.sign(x),)  # away from the kink at 0


@case
def silu(rng: Generator, B: int = 4, D: int = 5) -> Case:
    return ops.silu, (2 * rng.standard_normal((B, D)),)


@case
def gelu(rng: Generator, B: int = 4, D: int = 5) -> Case:
    approximate = bool(rng.integers(2))
    return lambda x: ops.gelu(x, approximate), (2 * rng.standard_normal((B, D)),)


@case
def softmax(rng: Generator, B: int = 3, T: int = 4, D: int = 5) -> Case:
    return ops.softmax, (2 * rng.standard_normal((B, T, D)),)


@case
def layer_norm(rng: Generator, B: int = 3, T: int = 4, D: int = 5) -> Case:
    return ops.layer_norm, (
        rng.standard_normal((B, T, D)),
        rng.standard_normal(D),
        rng.standard_normal(D),
    )


@case
def add_norm(rng: Generator, B: int = 3, T: int = 4, D: int = 5) -> Case:
    x, h = rng.standard_normal((2, B, T, D))
    gain, bias = rng.standard_normal((2, D))
    if rng.integers(2):
        return ops.add_norm, (x, h, gain, bias)
    return lambda x, gain, bias: ops.add_norm(x, None, gain, bias), (x, gain, bias)


@case
def rms_norm(rng: Generator, B: int = 3, T: int = 4, D: int = 5) -> Case:
    return ops.rms_norm, (rng.standard_normal((B, T, D)), rng.standard_normal(D))


@case
def rotary(rng: Generator, B: int = 2, N: int = 2, T: int = 4, D: int = 3) -> Case:
    return ops.rotary, (rng.standard_normal((B, N, T, 2 * D)), rng.integers(0, 50, (B, T)))


@case
def dropout(rng: Generator, B: int = 4, D: int = 5) -> Case:
    seed, rate = rng.integers(2**32), rng.uniform(0, 0.9)
    return lambda x: ops.dropout(x, rate, np.random.default_rng(seed)), (
        rng.standard_normal((B, D)),
    )


@case
def cross_entropy(rng: Generator, B: int = 3, T: int = 4, V: int = 5) -> Case:
    mask = rng.random((B, T)) < 0.7
    mask[0, 0] = True
    targets = rng.integers(0, V, (B, T))
    chosen, smoothing = (mask, None)[rng.integers(2)], rng.choice([0.0, 0.2])

    def op(logits, class_weights=None):
        return ops.cross_entropy(logits, targets, chosen, smoothing, class_weights)

    weights = (rng.random(V),) if rng.integers(2) else ()
    return op, (2 * rng.standard_normal((B, T, V)), *weights)


@case
def reverse(rng: Generator, B: int = 3, T: int = 4, D: int = 3) -> Case:
    return ops.reverse, (rng.standard_normal((B, T, D)), _lengths(rng, B, T))


@case
def rnn(rng: Generator, B: int = 3, T: int = 5, I: int = 4, H: int = 3) -> Case:
    return ops.rnn, (
        rng.standard_normal((B, T, I)),
        rng.standard_normal((B, H)),
        rng.standard_normal((I, H)) / np.sqrt(I),
        rng.standard_normal((H, H)) / np.sqrt(H),
        rng.standard_normal(H),
        _lengths(rng, B, T),
    )


@case
def lstm(rng: Generator, B: int = 3, T: int = 5, I: int = 4, H: int = 3) -> Case:
    return ops.lstm, (
        rng.standard_normal((B, T, I)),
        rng.standard_normal((B, H)),
        rng.standard_normal((B, H)),
        rng.standard_normal((I, 4 * H)) / np.sqrt(I),
        rng.standard_normal((H, 4 * H)) / np.sqrt(H),
        rng.standard_normal(4 * H),
        _lengths(rng, B, T),
    )


@case
def gru(rng: Generator, B: int = 3, T: int = 5, I: int = 4, H: int = 3) -> Case:
    return ops.gru, (
        rng.standard_normal((B, T, I)),
        rng.standard_normal((B, H)),
        rng.standard_normal((I, 3 * H)) / np.sqrt(I),
        rng.standard_normal((H, 3 * H)) / np.sqrt(H),
        rng.standard_normal(3 * H),
        rng.standard_normal(3 * H),
        _lengths(rng, B, T),
    )


@case
def additive_attention(
    rng: Generator, B: int = 3, T: int = 3, S: int = 4, D: int = 3, E: int = 2, A: int = 4
) -> Case:
    return ops.additive_attention, (
        rng.standard_normal((B, T, D)),
        rng.standard_normal((B, S, E)),
        rng.standard_normal((B, S, D)),
        rng.standard_normal((D, A)),
        rng.standard_normal((E, A)),
        rng.standard_normal(A),
        _lengths(rng, B, S),
    )


@case
def multiplicative_attention(
    rng: Generator, B: int = 3, T: int = 3, S: int = 4, D: int = 3, E: int = 2
) -> Case:
    return ops.multiplicative_attention, (
        rng.standard_normal((B, T, D)),
        rng.standard_normal((B, S, E)),
        rng.standard_normal((B, S, D)),
        rng.standard_normal((D, E)),
        _lengths(rng, B, S),
    )


@case
def attention_flow(rng: Generator, B: int = 3, T: int = 4, J: int = 3, D: int = 3) -> Case:
    lengths, question_lengths = _lengths(rng, B, T), _lengths(rng, B, J)
    # In a question of one word, w_u would change the result only by rounding.
    lengths[0], question_lengths[0] = T, J
    return ops.attention_flow, (
        rng.standard_normal((B, T, D)),
        rng.standard_normal((B, J, D)),
        *rng.standard_normal((3, D)),
        lengths,
        question_lengths,
    )


@case
def scaled_dot_product_attention(
    rng: Generator,
    B: int = 3,
    M: int = 2,
    G: int = 2,
    T: int = 4,
    S: int = 5,
    D: int = 3,
    E: int = 2,
) -> Case:
    return ops.scaled_dot_product_attention, (
        2 * rng.standard_normal((B, M * G, T, D)),  # G heads of queries for each head of keys
        2 * rng.standard_normal((B, M, S, D)),
        rng.standard_normal((B, M, S, E)),
        bool(rng.integers(2)),
        _lengths(rng, B, S),
        rng.integers(0, S + 1, B) if rng.integers(2) else None,
    )


@case
def mean_pool(rng: Generator, B: int = 3, T: int = 4, D: int = 3) -> Case:
    return ops.mean_pool, (rng.standard_normal((B, T, D)), _lengths(rng, B, T))


@case
def max_pool(rng: Generator, B: int = 3, T: int = 4, D: int = 3) -> Case:
    ranks = rng.permuted(np.tile(np.arange(T, dtype=float), (B, D, 1)), axis=2)
    x = ranks.swapaxes(1, 2) + 0.5 * rng.random((B, T, D))  # no two are close
    return ops.max_pool, (x, _lengths(rng, B, T))
