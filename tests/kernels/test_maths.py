"""The bounds that maths.h states, against double (and long double) precision, and ``math.erf``.

The point functions are reached through an rnn and an lstm without weights: h =
tanh(b), and with c0 = 0 and i = 1, o = sigmoid(b).
"""

import math

import numpy as np
import pytest

LIMIT = 4  # units in the last place
PRECISIONS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def require_longer(dtype):
    if dtype == np.float64 and np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
        pytest.skip("no longer precision here to compare with")


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
    sizes = 10 ** rng.uniform(tiny, 2.5, 200)
    near = rng.uniform(-12, 12, 600), np.linspace(-80, 80, 200)
    return np.concatenate([sizes, -sizes, *near]).astype(dtype)


def exact_tanh(x):
    return np.tanh(x.astype(np.longdouble))


def exact_sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.longdouble)))


def softplus(twin, x):
    return twin.softplus_forward(x)


def exact_softplus(x):
    """Every digit of small results, too: log(1 + e) has none of an e below the unit of 1."""
    return np.logaddexp(x.astype(np.longdouble), np.longdouble(0))


ENDS = [np.nan, np.inf, -np.inf, 0, 1e4, -1e4]
FUNCTIONS = [
    (tanh, exact_tanh, [np.nan, 1, -1, 0, 1, -1]),
    (sigmoid, exact_sigmoid, [np.nan, 1, 0, 0.5, 1, 0]),
    (softplus, exact_softplus, [np.nan, np.inf, 0]),
]


@PRECISIONS
@pytest.mark.parametrize(("function", "exact", "ends"), FUNCTIONS)
def test_error_in_units_in_the_last_place(twin, function, exact, ends, dtype):
    found = function(twin, np.array(ENDS[: len(ends)], dtype))
    np.testing.assert_array_equal(found, np.array(ends, dtype))
    require_longer(dtype)
    x = points(dtype, np.random.default_rng(0))
    truth, found = exact(x), np.concatenate([function(twin, part) for part in np.split(x, 8)])
    normal = np.abs(truth) >= np.finfo(dtype).tiny
    unit = np.spacing(np.abs(truth).astype(dtype)).astype(np.longdouble)
    assert (np.abs(found - truth) / unit)[normal].max() <= LIMIT
    assert np.abs(found - truth)[~normal].max(initial=0) <= np.finfo(dtype).tiny


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
    require_longer(np.float64)
    rng = np.random.default_rng(0)
    sizes = [rng.uniform(0, far, 3000), rng.uniform(0, 2, 1000), 10 ** rng.uniform(-8, 0, 300)]
    x = np.concatenate([*sizes, *(-size for size in sizes)]).astype(dtype)
    truth = x * exact_cdf(x.astype(float))
    error = np.abs(twin.exact_gelu_forward(x) - truth) / np.spacing(np.abs(truth).astype(dtype))
    assert error.max() <= 7
    dx = twin.exact_gelu_backward(np.ones_like(x), x)
    density = np.exp(-(x.astype(np.longdouble) ** 2) / 2) / np.sqrt(2 * np.pi)
    assert np.abs(dx - exact_cdf(x.astype(float)) - x * density).max() <= 2 * np.finfo(dtype).eps
