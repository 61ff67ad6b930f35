"""One case of every op for the gradient checker.

Each function draws arguments of the given sizes and returns ``op, args`` for
``check_gradients(op, *args, rng=rng)``.  The tests draw the sizes, and fail if an
op of ``minillm.ops`` is missing here; ``minillm gradcheck`` takes the defaults.
Recurrences have unequal lengths and nonzero initial states, because errors in a
backward hide elsewhere.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minillm import ops
from minillm.ops.recurrence import CELLS, Cell
from minillm.ops.rotary_scaling import Linear, Llama3, LongRope, Yarn

Case = tuple[Callable, tuple[Any, ...]]
Generator = np.random.Generator
Shape = int | tuple[int, ...]

CASES: dict[str, Callable[..., Case]] = {}


def case(draw: Callable[..., Case]) -> Callable[..., Case]:
    """Enter a function into ``CASES``, under the name of its op."""
    CASES[draw.__name__] = draw
    return draw


def _normal(rng: Generator, *shapes: Shape) -> tuple[np.ndarray, ...]:
    return tuple(rng.standard_normal(shape) for shape in shapes)


def _lengths(rng: Generator, B: int, T: int) -> np.ndarray:
    return rng.integers(0, T + 1, B)


def _like(x: np.ndarray, constants: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Constants in the dtype of x; the tests also call ops with what is no array."""
    return [constant.astype(getattr(x, "dtype", constant.dtype)) for constant in constants]


@case
def linear(rng: Generator, B: int = 3, T: int = 4, I: int = 4, O: int = 5) -> Case:
    return ops.linear, _normal(rng, (B, T, I), (I, O), O)


@case
def embedding(rng: Generator, B: int = 3, T: int = 5, V: int = 6, D: int = 3) -> Case:
    ids = rng.integers(0, V, (B, T))  # repeats are likely: their gradients must add up
    return lambda E: ops.embedding(ids, E), _normal(rng, (V, D))


def _smooth(op: Callable, rng: Generator, B: int = 4, D: int = 5) -> Case:
    """A smooth op of one array of any shape."""
    return op, (2 * rng.standard_normal((B, D)),)


for op in (ops.tanh, ops.sigmoid, ops.silu, ops.softplus):
    CASES[op.__name__] = partial(_smooth, op)


@case
def relu(rng: Generator, B: int = 4, D: int = 5) -> Case:
    x = rng.standard_normal((B, D))
    return ops.relu, (x + 0.1 * np.sign(x),)  # away from the kink at 0


@case
def gelu(rng: Generator, B: int = 4, D: int = 5) -> Case:
    approximate = bool(rng.integers(2))
    return _smooth(lambda x: ops.gelu(x, approximate), rng, B, D)


@case
def softmax(rng: Generator, B: int = 3, T: int = 4, D: int = 5) -> Case:
    return ops.softmax, (2 * rng.standard_normal((B, T, D)),)


@case
def layer_norm(rng: Generator, B: int = 3, T: int = 4, D: int = 5) -> Case:
    return ops.layer_norm, _normal(rng, (B, T, D), D, D)


@case
def add_norm(rng: Generator, B: int = 3, T: int = 4, D: int = 5) -> Case:
    x, h, gain, bias = _normal(rng, (B, T, D), (B, T, D), D, D)
    forms: list[Case] = [
        (ops.add_norm, (x, h, gain, bias)),
        (lambda x, gain, bias: ops.add_norm(x, None, gain, bias), (x, gain, bias)),
        (lambda x, h, gain: ops.add_norm(x, h, gain, None), (x, h, gain)),
        (lambda x, gain: ops.add_norm(x, None, gain, None), (x, gain)),
    ]
    return forms[rng.integers(len(forms))]


@case
def rms_norm(rng: Generator, B: int = 3, T: int = 4, D: int = 5) -> Case:
    return ops.rms_norm, _normal(rng, (B, T, D), D)


@case
def rotary(rng: Generator, B: int = 2, N: int = 2, T: int = 4, D: int = 3) -> Case:
    scalings = (
        None,
        Linear(4.0),
        Llama3(8.0, 1.0, 4.0, 50.0),
        Yarn(8.0, 50.0),
        LongRope((1.0,) * D, tuple(rng.uniform(1, 9, D)), 40, 1.2),
    )
    x, places = rng.standard_normal((B, N, T, 2 * D)), rng.integers(0, 50, (B, T))
    return ops.rotary, (x, places, 100.0, scalings[rng.integers(len(scalings))])


@case
def swiglu(rng: Generator, B: int = 4, D: int = 5) -> Case:
    return ops.swiglu, (2 * rng.standard_normal((B, 2 * D)),)


@case
def dropout(rng: Generator, B: int = 4, D: int = 5) -> Case:
    seed, rate = rng.integers(2**32), rng.uniform(0, 0.9)
    return lambda x: ops.dropout(x, rate, np.random.default_rng(seed)), _normal(rng, (B, D))


@case
def cross_entropy(rng: Generator, B: int = 3, T: int = 4, V: int = 5) -> Case:
    mask = rng.random((B, T)) < 0.7
    mask[0, 0] = True
    targets = rng.integers(0, V, (B, T))
    chosen, smoothing = (mask, None)[rng.integers(2)], rng.choice([0.0, 0.2])

    weights = (rng.random(V),) if rng.integers(2) else ()

    def op(logits):
        return ops.cross_entropy(logits, targets, chosen, smoothing, *_like(logits, weights))

    return op, (2 * rng.standard_normal((B, T, V)),)


@case
def log_likelihood(rng: Generator, B: int = 3, T: int = 4, V: int = 5) -> Case:
    targets = rng.integers(0, V, (B, T))
    return lambda logits: ops.log_likelihood(logits, targets), _normal(rng, (B, T, V))


@case
def copied_probability(rng: Generator, B: int = 3, T: int = 4, S: int = 5) -> Case:
    # Of six words, some occur twice in a source, and some targets not at all.
    source, targets = rng.integers(0, 6, (B, S)), rng.integers(0, 6, (B, T))
    return ops.copied_probability, (rng.standard_normal((B, T, S)), source, targets)


@case
def pointer_cross_entropy(rng: Generator, B: int = 3, T: int = 4, V: int = 5) -> Case:
    targets = rng.integers(0, V + 2, (B, T))  # the vocabulary lacks the last two
    logits, gates = _normal(rng, (B, T, V), (B, T))
    return ops.pointer_cross_entropy, (logits, gates, rng.uniform(0.1, 1, (B, T)), targets)


@case
def coverage(rng: Generator, B: int = 3, T: int = 4, S: int = 5) -> Case:
    lengths = _lengths(rng, B, T)
    lengths[0] = T
    return ops.coverage, (rng.uniform(0.1, 1, (B, T, S)), lengths)


@case
def preference_loss(rng: Generator, B: int = 4) -> Case:
    references, beta = _normal(rng, B, B), rng.choice([0.1, 2.0])

    def op(chosen, rejected):
        return ops.preference_loss(chosen, rejected, *_like(chosen, references), beta)

    return op, _normal(rng, B, B)


@case
def policy_loss(rng: Generator, B: int = 6) -> Case:
    constants = _normal(rng, B, B)

    def op(log_p):
        return ops.policy_loss(log_p, *_like(log_p, constants), 0.3)

    return op, _normal(rng, B)


@case
def reverse(rng: Generator, B: int = 3, T: int = 4, D: int = 3) -> Case:
    return ops.reverse, (rng.standard_normal((B, T, D)), _lengths(rng, B, T))


def _recurrence(cell: Cell, rng: Generator, B: int = 3, T: int = 5, I: int = 4, H: int = 3) -> Case:
    """A recurrence of any cell."""
    G = cell.gates * H
    x, *states = _normal(rng, (B, T, I), *[(B, H)] * len(cell.state))
    rows = {"W_x": I, "W_h": H}
    shapes = [(rows[name], G) if name in rows else G for name in cell.weights]
    weights = [
        weight / np.sqrt(len(weight)) if weight.ndim == 2 else weight
        for weight in _normal(rng, *shapes)
    ]
    return cell.run, (x, *states, *weights, _lengths(rng, B, T))


for name, cell in CELLS.items():
    CASES[name] = partial(_recurrence, cell)


@case
def linear_recurrence(rng: Generator, B: int = 3, T: int = 5, D: int = 3) -> Case:
    arrays = _normal(rng, (B, T, D), (B, T, D), (B, D))
    return ops.linear_recurrence, (*arrays, _lengths(rng, B, T))


@case
def causal_convolution(rng: Generator, B: int = 3, T: int = 5, D: int = 3, K: int = 3) -> Case:
    return ops.causal_convolution, _normal(rng, (B, T, D), (K + 1, D), D, (B, K, D))


@case
def selective_scan(rng: Generator, B: int = 2, T: int = 5, D: int = 3, N: int = 2) -> Case:
    x, b, c, skip, h0 = _normal(rng, (B, T, D), (B, T, N), (B, T, N), D, (B, D, N))
    delta, A = rng.uniform(0.1, 2, (B, T, D)), -rng.uniform(0.1, 2, (D, N))
    return ops.selective_scan, (x, delta, A, b, c, skip, h0)


@case
def gated_delta_rule(
    rng: Generator, B: int = 2, N: int = 2, T: int = 5, K: int = 3, V: int = 2
) -> Case:
    q, k, v, S0 = _normal(rng, (B, N, T, K), (B, N, T, K), (B, N, T, V), (B, N, K, V))
    alpha, beta = rng.uniform(0.3, 1, (B, N, T)), rng.uniform(0.1, 1, (B, N, T))
    return ops.gated_delta_rule, (q, k, v, alpha, beta, S0)


@case
def additive_attention(
    rng: Generator, B: int = 3, T: int = 3, S: int = 4, D: int = 3, E: int = 2, A: int = 4
) -> Case:
    shapes = (B, T, D), (B, S, E), (B, S, D), (D, A), (E, A), A
    return ops.additive_attention, (*_normal(rng, *shapes), _lengths(rng, B, S))


@case
def multiplicative_attention(
    rng: Generator, B: int = 3, T: int = 3, S: int = 4, D: int = 3, E: int = 2
) -> Case:
    shapes = (B, T, D), (B, S, E), (B, S, D), (D, E)
    return ops.multiplicative_attention, (*_normal(rng, *shapes), _lengths(rng, B, S))


@case
def attention_flow(rng: Generator, B: int = 3, T: int = 4, J: int = 3, D: int = 3) -> Case:
    lengths, question_lengths = _lengths(rng, B, T), _lengths(rng, B, J)
    # In a question of one word, w_u would change the result only by rounding.
    lengths[0], question_lengths[0] = T, J
    arrays = _normal(rng, (B, T, D), (B, J, D), D, D, D)
    return ops.attention_flow, (*arrays, lengths, question_lengths)


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
    # G heads of queries for each head of keys
    q, k, v = _normal(rng, (B, M * G, T, D), (B, M, S, D), (B, M, S, E))
    causal, lengths = bool(rng.integers(2)), _lengths(rng, B, S)
    start = rng.integers(0, S + 1, B) if rng.integers(2) else None
    window = int(rng.integers(1, S + 1)) if causal and rng.integers(2) else None
    arguments: tuple[Any, ...] = causal, lengths, start
    if window is not None:
        arguments = False, None, None, ops.Mask(causal, lengths, start, window)
    return ops.scaled_dot_product_attention, (2 * q, 2 * k, v, *arguments)


@case
def biased_attention(
    rng: Generator, B: int = 3, N: int = 2, T: int = 4, S: int = 5, D: int = 3, E: int = 2
) -> Case:
    shapes = (B, N, T, D), (B, N, S, D), (B, N, S, E), (N, T, S)
    return ops.biased_attention, (*_normal(rng, *shapes), _lengths(rng, B, S))


@case
def mean_pool(rng: Generator, B: int = 3, T: int = 4, D: int = 3) -> Case:
    return ops.mean_pool, (rng.standard_normal((B, T, D)), _lengths(rng, B, T))


@case
def max_pool(rng: Generator, B: int = 3, T: int = 4, D: int = 3) -> Case:
    ranks = rng.permuted(np.tile(np.arange(T, dtype=float), (B, D, 1)), axis=2)
    x = ranks.swapaxes(1, 2) + 0.5 * rng.random((B, T, D))  # no two are close
    return ops.max_pool, (x, _lengths(rng, B, T))
