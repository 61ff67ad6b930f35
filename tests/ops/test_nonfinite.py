"""NaN and infinity spread alike on both twins, in each direction: the same places of the same
results are NaN, plus or minus infinity, whatever the order of a sum is.

What a causal mask hides is the exception, for there zero times NaN is NaN: see
``scaled_dot_product_attention``.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import kernels_info, ops, use_kernels
from minillm.testing import strategies

from .cases import TWINNED, case_of, is_float, results, upstream_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning"),
    pytest.mark.skipif(
        kernels_info()["available"] == ["numpy"], reason="the compiled kernels are not built"
    ),
]

# Beyond the kernels' blocks, and no whole vectors.
LARGE = {
    "linear": {"B": 3, "T": 23, "I": 600, "O": 67},
    "embedding": {"B": 4, "T": 7, "V": 9, "D": 37},
    "gelu": {"B": 28, "D": 301},
    "layer_norm": {"B": 5, "T": 27, "D": 99},
    "rms_norm": {"B": 5, "T": 27, "D": 99},
    "swiglu": {"B": 28, "D": 301},
    "rotary": {"B": 2, "N": 3, "T": 27, "D": 19},
    "cross_entropy": {"B": 3, "T": 5, "V": 101},
    "pointer_cross_entropy": {"B": 3, "T": 5, "V": 101},
    "rnn": {"B": 9, "T": 6, "I": 40, "H": 67},
    "lstm": {"B": 9, "T": 6, "I": 35, "H": 37},
    "gru": {"B": 9, "T": 6, "I": 35, "H": 37},
    "additive_attention": {"B": 2, "T": 7, "S": 70, "D": 35, "E": 37, "A": 33},
    "scaled_dot_product_attention": {"B": 2, "M": 2, "G": 3, "T": 70, "S": 90, "D": 35, "E": 37},
}
POISONS = [np.nan, np.inf, -np.inf]


def plant(rng, arrays):
    """NaN or infinities at one place to three."""
    for _ in range(rng.integers(1, 4)):
        a = arrays[rng.integers(len(arrays))]
        a.flat[rng.integers(a.size)] = rng.choice(POISONS)


def poisoned_case(name, rng, dtype, direction, sizes):
    """An op, its arguments and upstream gradients; small, so that no tanh is saturated: there a
    slope is zero on one twin and almost zero on the other."""
    op, args = case_of(name, rng, **sizes)
    args = [(a / 4).astype(dtype) if is_float(a) else a for a in args]
    with use_kernels("numpy"):
        upstream = upstream_of(op(*args)[0], rng)
    if direction in ("forward", "both"):
        plant(rng, [a for a in args if is_float(a)])
    if direction in ("backward", "both"):
        plant(rng, upstream)
    return op, args, upstream


def kinds(a):
    return np.select([np.isnan(a), np.isposinf(a), np.isneginf(a)], [1, 2, 3])


def check(name, rng, dtype, direction, sizes):
    op, args, upstream = poisoned_case(name, rng, dtype, direction, sizes)
    original = results("numpy", op, args, upstream)
    for twin in kernels_info()["available"][1:]:
        for ours, theirs in zip(results(twin, op, args, upstream), original, strict=True):
            actual, expected = kinds(ours), kinds(theirs)
            if name == "scaled_dot_product_attention" and any(args[3:4] + args[6:]):
                actual = np.where(
                    expected == 1, 1, actual
                )  # a product over all keys, or over fewer
            np.testing.assert_array_equal(actual, expected)


DIRECTIONS = st.sampled_from(["forward", "backward", "both"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", TWINNED)
@given(direction=DIRECTIONS, rng=strategies.generators())
def test_nan_and_infinity_spread_alike(name, dtype, direction, rng):
    check(name, rng, dtype, direction, {})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_nan_and_infinity_spread_alike_beyond_a_block(name, dtype, direction):
    for seed in range(2):
        check(name, np.random.default_rng(seed), dtype, direction, LARGE[name])


@pytest.mark.parametrize("argument", [3, 4])
def test_an_infinity_that_all_columns_share_spreads_alike(argument):
    """b or c of a scan: a kernel's columns beyond the last one must not read it."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        op, args, upstream = poisoned_case("selective_scan", rng, np.float64, "no", {"D": 1})
        args[argument].flat[rng.integers(args[argument].size)] = np.inf
        original = results("numpy", op, args, upstream)
        for twin in kernels_info()["available"][1:]:
            for ours, theirs in zip(results(twin, op, args, upstream), original, strict=True):
                np.testing.assert_array_equal(kinds(ours), kinds(theirs))


@pytest.mark.parametrize("T", [5, 70])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("seed", range(3))
def test_what_a_query_attends_to_reaches_it(T, window, seed):
    """Under a causal mask, too: a single query becomes NaN on both twins alike."""
    rng = np.random.default_rng(seed)
    sizes = {"B": 1, "M": 1, "G": 1, "T": T, "S": T + 3, "D": 3, "E": 2}
    op, (q, k, v, *_), _ = poisoned_case(
        "scaled_dot_product_attention", rng, np.float32, "forward", sizes
    )
    lengths = rng.integers(0, T + 4, 1)
    for twin in kernels_info()["available"]:
        with use_kernels(twin):
            y, _ = op(q, k, v, mask=ops.Mask(True, lengths, window=window))
            for t in range(T):
                first = 0 if window is None else 4 + t - window
                seen = np.clip(lengths - first, 0, 4 + t - first)
                alone, _ = op(q[:, :, [t]], k[:, :, first:], v[:, :, first:], False, seen)
                assert np.isnan(y[:, :, t][np.isnan(alone[:, :, 0])]).all()
