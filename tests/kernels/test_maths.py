"""The bounds that maths.h states, against double (and long double) precision, and ``math.erf``.

The point functions are reached through an rnn and an lstm without weights: h =
tanh(b), and with c0 = 0 and i = 1, o = sigmoid(b).
"""

import math

import numpy as np
import pytest

LIMIT = 4  # units in the last place


def tanh(twin, x):
    """tanh of many numbers: an rnn of one step whose pre-activation is its bias."""
    one = np.zeros((1, 1), x.dtype)
    W_h = np.zeros((len(x), len(x)), x.dtype)
    W_x = np.zeros((1, len(x)), x.dtype)
    return twin.rnn_step(one, np.zeros((1, len(x)), x.dtype), W_x, W_h, x)[0]


def sigmoid(twin, x):
    """The gate i of an lstm of one step."""
    H = len(x)
    zeros, one = np.zeros((1, H), x.dtype), np.zeros((1, 1, 1), x.dtype)
    W_x, W_h = np.zeros((1, 4 * H), x.dtype), np.zeros((H, 4 * H), x.dtype)
    bias = np.concatenate([x, np.zeros(3 * H, x.dtype)])
    return twin.lstm_forward(one, zeros, zeros, W_x, W_h, bias, np.array([1]))[3][0, 0, :H]


def points(dtype, rng):
    """Both signs, every size from the smallest normal number to far beyond where they saturate."""
    tiny = np.log10(np.finfo(dtype).tiny)
    sizes = 10 ** rng.uniform(tiny, 2.5, 300)
    near = rng.uniform(-12, 12, 600)
    return np.concatenate([sizes, -sizes, near]).astype(dtype)


def exact_tanh(x):
    return np.tanh(x.astype(np.longdouble))


def exact_sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.longdouble)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "exact"), [(tanh, exact_tanh), (sigmoid, exact_sigmoid)])
def test_error_in_units_in_the_last_place(twin, function, exact, dtype):
    if dtype == np.float64 and np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
        pytest.skip("no longer precision here to compare with")
    x = points(dtype, np.random.default_rng(0))
    truth = exact(x)
    normal = np.abs(truth) >= np.finfo(dtype).tiny
    unit = np.spacing(np.abs(truth).astype(dtype)).astype(np.longdouble)
    error = np.abs(function(twin, x) - truth) / unit
    assert error[normal].max() <= LIMIT
    assert np.abs(function(twin, x) - truth)[~normal].max(initial=0) <= np.finfo(dtype).tiny


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends(twin, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0, 1e4, -1e4], dtype)
    np.testing.assert_array_equal(tanh(twin, x), np.array([np.nan, 1, -1, 0, 1, -1], dtype))
    np.testing.assert_array_equal(sigmoid(twin, x), np.array([np.nan, 1, 0, 0.5, 1, 0], dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_digit_of_softplus(twin, dtype):
    """Of small results, too: log(1 + e) has no digit of an e below the unit of 1."""
    if np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
        pytest.skip("no longer precision here to compare with")
    x = np.concatenate([points(dtype, np.random.default_rng(0)), np.linspace(-80, 80, 999)])
    x = x.astype(dtype)
    truth = np.logaddexp(x.astype(np.longdouble), np.longdouble(0))
    normal = truth >= np.finfo(dtype).tiny
    unit = np.spacing(truth.astype(dtype)).astype(np.longdouble)
    error = np.abs(twin.softplus_forward(x) - truth) / unit
    assert error[normal].max() <= LIMIT
    ends = np.array([np.nan, np.inf, -np.inf], dtype)
    expected = np.array([np.nan, np.inf, 0], dtype)
    np.testing.assert_array_equal(twin.softplus_forward(ends), expected)


# --- the normal distribution, which exact_gelu multiplies by x ------------------------------


def exact_cdf(x):
    """Phi(x) = erfc(-x / sqrt(2)) / 2 of doubles, corrected for what rounds in -x / sqrt(2)."""
    wanted = -x.astype(np.longdouble) / np.sqrt(np.longdouble(2))
    z = wanted.astype(float)
    slope = -2 / math.sqrt(math.pi) * np.exp(-(z**2))
    return (np.vectorize(math.erfc)(z) + slope * (wanted - z)) / 2


@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 12.8), (np.float64, 37)])
def test_every_digit_of_exact_gelu(twin, dtype, far):
    """In both tails, too: there 1 + erf would have no digit left."""
    if np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
        pytest.skip("no longer precision here to compare with")
    rng = np.random.default_rng(0)
    sizes = [rng.uniform(0, far, 3000), rng.uniform(0, 2, 1000), 10 ** rng.uniform(-8, 0, 300)]
    x = np.concatenate([*sizes, *(-size for size in sizes)]).astype(dtype)
    truth = x * exact_cdf(x.astype(float))
    error = np.abs(twin.exact_gelu_forward(x) - truth) / np.spacing(np.abs(truth).astype(dtype))
    assert error.max() <= 7
    dx = twin.exact_gelu_backward(np.ones_like(x), x)
    density = np.exp(-(x.astype(np.longdouble) ** 2) / 2) / np.sqrt(2 * np.pi)
    assert np.abs(dx - exact_cdf(x.astype(float)) - x * density).max() <= 2 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf(twin, original, dtype):
    """erf(z) = 2 Phi(sqrt(2) z) - 1, where gelu(x) = x Phi(x)."""
    x = np.linspace(-9, 9, 2000).astype(dtype)  # none is zero
    expected = [math.erf(value / math.sqrt(2)) for value in x.tolist()]
    for kernels in (twin, original):
        result = 2 * kernels.exact_gelu_forward(x) / x - 1
        np.testing.assert_allclose(result, expected, rtol=0, atol=4 * np.finfo(dtype).eps)
