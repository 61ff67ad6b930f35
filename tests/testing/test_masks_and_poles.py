"""The checker against masks, poles, kinks and scales: right passes, 1 % off fails."""

import numpy as np
import pytest

from minillm import ops
from minillm.ops.gradient_cases import CASES
from minillm.testing import GradientError, check_gradients

MASKS = (-1e9, -1e15, -np.inf)


def off(op, factor, argument=0, largest_only=False):
    """The op with a gradient that is off by a factor, everywhere or at its largest coordinate."""

    def wrong(*args):
        y, backward = op(*args)

        def wrong_backward(*upstream):
            gradients = backward(*upstream)
            many = isinstance(gradients, tuple)
            gradients = [g.copy() for g in (gradients if many else (gradients,))]
            g = gradients[argument]
            where = np.unravel_index(np.abs(g).argmax(), g.shape) if largest_only else ...
            g[where] *= factor
            return tuple(gradients) if many else gradients[0]

        return y, wrong_backward

    return wrong


def accepted(op, *args, seed):
    try:
        check_gradients(op, *args, rng=np.random.default_rng(seed))
    except GradientError:
        return False
    return True


def masked_softmax(mask):
    """A softmax whose last entry is masked; it returns the masked logits, too."""

    def op(x):
        keep = np.arange(x.shape[-1]) < x.shape[-1] - 1
        scores = np.where(keep, x, mask)
        y, softmax_backward = ops.softmax(scores)

        def backward(dscores, dy):
            dscores = np.zeros_like(x) if dscores is None else dscores
            dy = np.zeros_like(x) if dy is None else dy
            return np.where(keep, dscores + softmax_backward(dy), 0)

        return (scores, y), backward

    return op


def masked_attention(mask):
    """A causal attention of one head, which returns its context and its masked scores."""

    def op(q, k, v):
        keep = np.tri(len(q), dtype=bool)
        scores = np.where(keep, q @ k.T, mask)
        weights, softmax_backward = ops.softmax(scores)

        def backward(dcontext, dscores):
            dcontext = np.zeros_like(q) if dcontext is None else dcontext
            dscores = np.zeros_like(scores) if dscores is None else dscores
            dscores = np.where(keep, dscores + softmax_backward(dcontext @ v.T), 0)
            return dscores @ k, dscores.T @ q, weights.T @ dcontext

        return (weights @ v, scores), backward

    return op


def constant(op, argument):
    """The op with a gradient of ones by one argument."""

    def wrong(*args):
        y, backward = op(*args)

        def wrong_backward(*upstream):
            gradients = backward(*upstream)
            return tuple(np.ones_like(g) if k == argument else g for k, g in enumerate(gradients))

        return y, wrong_backward

    return wrong


def check_masked(mask, seeds):
    for seed in seeds:
        x = np.random.default_rng(seed).standard_normal((2, 4))
        op = masked_softmax(mask)
        assert accepted(op, x, seed=seed)
        assert not accepted(off(op, 1.01), x, seed=seed)
        args = np.random.default_rng(seed).standard_normal((3, 3, 2))
        op, argument = masked_attention(mask), seed % 2  # the values see no mask
        assert accepted(op, *args, seed=seed)
        assert not accepted(off(op, 1.01, argument), *args, seed=seed)
        assert not accepted(constant(op, argument), *args, seed=seed)


@pytest.mark.parametrize("mask", MASKS)
def test_a_masked_logit_hides_nothing(mask):
    check_masked(mask, range(3))


@pytest.mark.deep
@pytest.mark.parametrize("mask", MASKS)
def test_a_masked_logit_hides_nothing_in_many_seeds(mask):
    check_masked(mask, range(60))


@pytest.mark.parametrize("size", [1e6, 1e9, 1e12, 1e15])
def test_a_large_output_does_not_hide_the_others(size):
    factors = np.array([size, 1, 1])

    def op(x, fault=0.0):
        return factors * x, lambda dy: (factors + fault * np.array([0, 1, 0])) * dy

    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal(3)
        assert accepted(op, x, seed=seed)
        assert not accepted(op, x, 0.01, seed=seed)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("factor", [1.01, 0])
def test_a_sum_with_a_large_constant_is_not_accepted_for_its_rounding(size, factor):
    def op(x, factor=1.0):
        return np.tanh(x) + size, lambda dy: factor * (1 - np.tanh(x) ** 2) * dy

    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal(4)
        assert accepted(op, x, seed=seed) == (size < 1e12)
        assert not accepted(op, x, factor, seed=seed)
    if size == 1e12:
        with pytest.raises(GradientError, match=r"respect to x cannot be decided at .*rounding"):
            check_gradients(op, x, rng=np.random.default_rng(seed))


def function(f, slope):
    return lambda x: (f(x), lambda dy: dy * slope(x))


def norm(x):
    y = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    return y, lambda dy: dy * x / y


def largest(x):
    where = x == x.max(axis=-1, keepdims=True)
    return x.max(axis=-1), lambda dy: np.where(where, dy[..., None], 0)


def log_sum_exp(x):
    top = x.max(axis=-1, keepdims=True)
    powers = np.exp(x - top)
    total = powers.sum(axis=-1, keepdims=True)
    return (top + np.log(total))[..., 0], lambda dy: dy[..., None] * powers / total


def normal(rng, scale):
    return scale * rng.standard_normal((2, 3))


def positive(rng, scale):
    return scale * (0.1 + rng.random((2, 3)))


FUNCTIONS = {
    "log": (function(np.log, lambda x: 1 / x), positive),
    "square root": (function(np.sqrt, lambda x: 0.5 / np.sqrt(x)), positive),
    "reciprocal": (function(lambda x: 1 / x, lambda x: -1 / x**2), normal),
    "power": (function(lambda x: x**0.3, lambda x: 0.3 * x**-0.7), positive),
    "cube": (function(lambda x: x**3, lambda x: 3 * x**2), normal),
    "sine": (function(np.sin, np.cos), normal),
    "relu": (function(lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1, 0)), normal),
    "absolute": (function(np.abs, np.sign), normal),
    "plus one": (function(lambda x: x + 1, np.ones_like), normal),
    "norm": (norm, normal),
    "maximum": (largest, normal),
    "log-sum-exp": (log_sum_exp, normal),
    "gelu": (ops.gelu, normal),
}


def check_function(name, scale, seeds):
    op, draw = FUNCTIONS[name]
    for seed in seeds:
        x = draw(np.random.default_rng(seed), scale)
        assert accepted(op, x, seed=seed), seed
        y, backward = op(x)
        if backward(np.ones(np.shape(y))).any():  # relu of negative numbers only has no gradient
            assert not accepted(off(op, 1.01, largest_only=seed % 2 == 1), x, seed=seed), seed


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_inputs_of_any_scale(name, scale):
    check_function(name, scale, range(2))


@pytest.mark.deep
@pytest.mark.parametrize("name", FUNCTIONS)
def test_inputs_of_any_scale_in_many_seeds(name):
    for exponent in range(-5, 5):
        check_function(name, 10.0**exponent, range(15))


def close_to_the_kink(rng):
    return np.array([*rng.standard_normal(3), 1e-4 * rng.standard_normal()])


def nearly_saturated(rng):
    return np.stack([np.zeros(3), -rng.uniform(26, 29, 3)], axis=1)


LOGISTIC = function(
    lambda x: 0.5 * np.tanh(0.5 * x) + 0.5,
    lambda x: 0.25 / np.cosh(0.5 * x) ** 2,
)
RIGHT = {
    "a fast sine": (
        function(lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x)),
        lambda rng: rng.standard_normal(4),
    ),
    "a sine with whole periods in a step": (
        function(lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x)),
        lambda rng: np.array([12.573022114, 2 * np.pi * rng.integers(1, 9)]),
    ),
    "relu close to its kink": (FUNCTIONS["relu"][0], close_to_the_kink),
    "the maximum of five": (largest, lambda rng: rng.standard_normal(5)),
    "logs of all scales": (
        FUNCTIONS["log"][0],
        lambda rng: 10.0 ** rng.uniform(-12, 3, 4),
    ),
    "saturated sigmoids": (ops.sigmoid, lambda rng: np.array([*rng.uniform(-30, 30, 3), 0.5])),
    "a saturated softmax": (ops.softmax, lambda rng: np.array([0, 50 + rng.random()])),
    "small sums of terms of 1": (LOGISTIC, lambda rng: rng.uniform(-30, -10, 8)),
    "softmaxes with slopes near the last bit": (ops.softmax, nearly_saturated),
    "silu of large numbers": (
        ops.silu,
        lambda rng: np.array([*(5 * rng.standard_normal(5)), 5.0]),
    ),
}


def check_right(name, seeds):
    op, draw = RIGHT[name]
    for seed in seeds:
        x = draw(np.random.default_rng(seed))
        check_gradients(op, x, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_that_are_hard_to_measure(name):
    check_right(name, range(10))


@pytest.mark.deep
@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_that_are_hard_to_measure_in_many_seeds(name):
    check_right(name, range(300))


@pytest.mark.deep
@pytest.mark.parametrize("name", CASES)
def test_every_op_right_and_one_percent_off(name):
    case = CASES[name]
    sizes = {"D": 3, "T": 3, "V": 3, "I": 2, "H": 2}
    sizes |= {"D": 1} if name == "rotary" else {}
    off_by_one_percent = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        op, args = case(rng, **sizes)
        floats = [a for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        argument = seed % len(floats)
        assert accepted(op, *args, seed=seed), seed
        y, backward = op(*args)
        draws = np.random.default_rng(seed).spawn(1)[0]
        outputs = y if isinstance(y, tuple) else (y,)
        upstream = [draws.standard_normal(np.shape(part)) for part in outputs]
        gradients = backward(*upstream)
        gradient = gradients[argument] if isinstance(gradients, tuple) else gradients
        if gradient.any():  # not if all lengths are 0, say
            wrong = off(op, 1.01, argument, largest_only=seed % 4 > 1)
            assert not accepted(wrong, *args, seed=seed), seed
            off_by_one_percent += 1
    assert off_by_one_percent > 5
