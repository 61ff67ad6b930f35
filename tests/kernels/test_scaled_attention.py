"""Scaled attention of every compiled set, against its original: grouped heads, a start in each
row, strided caches, queries that see nothing, and what must never be read.  The original is held to
the definition by tests/ops/test_attention.py."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.ops import Mask

from .twin_cases import TOLERANCE, WRONG, wrong_versions

DTYPES = st.sampled_from([np.float32, np.float64])


def both(twin, dcontext, *arguments):
    context, log_sums = twin.scaled_attention_forward(*arguments)
    return [context, log_sums, *twin.scaled_attention_backward(dcontext, *arguments, log_sums)]


def reference(original, *arguments):
    """What the original computes in float64, in the dtype of the arguments."""
    *arrays, mask = arguments
    exact = both(original, *(x.astype(np.float64) for x in arrays), mask)
    return [x.astype(arrays[0].dtype) for x in exact]


def case(rng, B, M, group, T, S, D, E, dtype, causal=True, window=None, sinks=0):
    """dcontext and the arguments of the forward."""

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    N = M * group
    lengths, start = rng.integers(0, S + 1, B), rng.integers(-T, S + 1, B)
    arrays = normal(B, N, T, E), normal(B, N, T, D), normal(B, M, S, D), normal(B, M, S, E)
    return [*arrays, Mask(causal, lengths, start, window, sinks)]


def from_the_first(T):
    """The mask of a sequence to itself."""
    return Mask(True, np.array([T]), np.array([0]))


def assert_close(ours, theirs, dtype):
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype == dtype
        scale = max(1.0, np.abs(other).max(initial=0))
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype] * scale)


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.one_of(st.integers(1, 9), st.sampled_from([64, 65, 130])),
    st.one_of(st.integers(1, 20), st.sampled_from([64, 150])),
    st.sampled_from([1, 3, 16, 33]),
    st.integers(1, 20),
    DTYPES,
    st.sampled_from([False, True, 1, 2, 5, 16, 33, 64, 100, 279, 280]),  # a number: the window
    st.sampled_from([0, 1, 4, 20]),
    st.integers(0, 99),
)
def test_the_twin_is_the_original(
    twin, original, B, M, group, T, S, D, E, dtype, causal, sinks, seed
):
    window = causal if type(causal) is int else None
    rng = np.random.default_rng(seed)
    sinks = sinks if window else 0
    arguments = case(rng, B, M, group, T, S, D, E, dtype, bool(causal), window, sinks)
    assert_close(both(twin, *arguments), reference(original, *arguments), dtype)


def in_a_cache(x, room, filling):
    """x (B, M, S, D) as a slice of a larger array in another order, filled otherwise."""
    B, M, S, D = x.shape
    cache = np.full((B + 1, S + room, M + 2, D), filling, x.dtype)
    slice = cache[1:, :, 1:-1].transpose(0, 2, 1, 3)
    slice[:, :, :S] = x
    return slice


@pytest.mark.parametrize("T", [1, 5, 70])
@pytest.mark.parametrize("causal", [False, True])
def test_a_cache_is_read_where_it_lies(twin, causal, T):
    """Nothing beyond the lengths or behind the last query is read: there the cache is NaN."""
    dcontext, query, keys, values, mask = case(
        np.random.default_rng(0), 3, 2, 2, T, 80, 9, 5, np.float32, causal
    )
    start = mask.start
    if causal:
        mask.lengths[:], start[:] = 100, [10, 0, 80 - T]
    within = replace(mask, lengths=mask.lengths.clip(max=80))
    expected = both(twin, dcontext, query, keys, values, within)
    strided = [in_a_cache(x, 20, np.nan) for x in (keys, values)]
    if causal:
        for b, first in enumerate(start):
            for x in strided:
                x[b, :, first + T :] = np.nan
    results = both(twin, dcontext, query, *strided, mask)
    for name, one, other in zip(
        ("context", "log_sums", "dquery", "dkeys", "dvalues"), results, expected, strict=True
    ):
        if name in ("dkeys", "dvalues"):
            assert not one[:, :, 80:].any()
            one = one[:, :, :80]
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("T", [7, 8, 16, 31, 64, 65, 97, 129])
def test_every_shape_of_block(twin, original, T, dtype):
    """Causal, of a sequence to itself: whole blocks and vectors, and what is left over."""
    arguments = case(np.random.default_rng(T), 1, 2, 1, T, T, 32, 32, dtype)
    arguments[4] = from_the_first(T)
    assert_close(both(twin, *arguments), reference(original, *arguments), dtype)


@pytest.mark.parametrize("T", [5, 70])
def test_a_query_that_is_nan_stays_alone(twin, T):
    """It reaches no other query, and no value that it does not see."""
    arguments = case(np.random.default_rng(0), 1, 1, 1, T, T, 8, 8, np.float32)
    arguments[4] = from_the_first(T)
    arguments[1][0, 0, 2] = np.nan
    context, _, dquery, _, dvalues = (x[0, 0] for x in both(twin, *arguments))
    for by_query in (context, dquery):
        assert np.isnan(by_query[2]).all()
        assert np.isfinite(np.delete(by_query, 2, axis=0)).all()
    assert np.isnan(dvalues[:3]).all()
    assert np.isfinite(dvalues[3:]).all()


def test_the_gradients_of_a_sequence_to_itself_are_parts_of_one_array(twin):
    """(B, T, 3, N, D), as q, k and v are parts of an activation."""
    arguments = case(np.random.default_rng(0), 2, 3, 1, 9, 9, 4, 4, np.float32)
    gradients = both(twin, *arguments)[2:]
    whole = gradients[0].base
    assert whole.shape == (2, 9, 3, 3, 4)
    for part, gradient in enumerate(gradients):
        assert gradient.base is whole
        np.testing.assert_array_equal(gradient, whole[:, :, part].transpose(0, 2, 1, 3))


@pytest.mark.parametrize("T", [1, 5, 64, 150])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sinks", [0, 4])
def test_keys_before_all_windows_are_not_read(twin, T, dtype, sinks):
    """There the cache may be NaN, and the bits are those of a cache without these keys."""
    dcontext, query, keys, values, _ = case(np.random.default_rng(0), 1, 2, 3, T, 200, 9, 5, dtype)
    first = 200 - T - 20 + 1  # of the first query
    hidden = np.arange(sinks, first)
    for x in (keys, values):
        x[:, :, hidden] = np.nan
    mask, without = (
        Mask(True, np.array([200 - n]), np.array([200 - T - n]), 20, sinks)
        for n in (0, len(hidden))
    )
    results = both(twin, dcontext, query, keys, values, mask)
    keys, values = (np.delete(x, hidden, axis=2) for x in (keys, values))
    expected = both(twin, dcontext, query, keys, values, without)
    for dx in results[3:]:
        assert not dx[:, :, hidden].any()
    for one, other in zip(results[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(results[3:], expected[3:], strict=True):
        np.testing.assert_array_equal(np.delete(one, hidden, axis=2), other)


@pytest.mark.parametrize(
    ("M", "group", "window", "sinks"), [(4, 1, None, 0), (2, 3, 17, 4), (1, 5, 17, 0)]
)
def test_the_same_bits_whatever_the_number_of_threads(twin, same_bits, M, group, window, sinks):
    rng = np.random.default_rng(0)
    arguments = case(rng, 3, M, group, 70, 90, 20, 30, np.float32, True, window, sinks)
    same_bits(both, twin, *arguments)


@pytest.mark.parametrize("T", [2, 66])
@pytest.mark.parametrize(
    ("dtype", "key"), [(np.float32, -1e30), (np.float64, -1e300), (np.float32, -np.inf)]
)
def test_scores_of_minus_infinity_alone_are_as_no_key(twin, original, T, dtype, key):
    """By overflow, and by infinite keys: zeros, and the other rows are as they are alone."""
    dcontext, query, keys, values, _ = case(np.random.default_rng(0), 2, 1, 2, T, 40, 4, 6, dtype)
    mask, alone = (Mask(False, np.full(B, 40), np.zeros(B, int)) for B in (2, 1))
    query[1, :, 0], keys[1] = -key if np.isfinite(key) else 1, key
    with np.errstate(over="ignore", invalid="ignore"):
        results = both(twin, dcontext, query, keys, values, mask)
    for x in results[:3]:
        assert not x[1, :, 0].any()
    first = [x[:1] for x in (dcontext, query, keys, values)]
    assert_close([x[:1] for x in results], reference(original, *first, alone), dtype)
    keys[:], values[:], query[:] = -np.inf, np.inf, np.abs(query) + 0.1  # no query has another
    for x in both(twin, dcontext, query, keys, values, mask):
        np.testing.assert_array_equal(x, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_score_is_subtracted_wherever_it_stands(twin, dtype):
    """Its exponential would overflow: that of 1000 is beyond either dtype."""
    S, T = 11, 9
    query = np.full((1, 1, T, 1), 40, dtype)
    values = np.arange(S, dtype=dtype).reshape(1, 1, S, 1)
    for place in range(S):
        keys = np.zeros((1, 1, S, 1), dtype)
        keys[0, 0, place] = 25
        arguments = query, keys, values, Mask(False, np.array([S]), np.array([0]))
        context, log_sums = twin.scaled_attention_forward(*arguments)
        assert (context == place).all()
        assert (log_sums == 1000).all()


@pytest.mark.parametrize("T", [5, 70])
def test_a_query_that_sees_nothing_reaches_nothing(twin, T):
    """Even where it and the gradient of its context are NaN."""
    dcontext, query, *others = case(np.random.default_rng(0), 1, 1, 2, T, 40, 8, 8, np.float32)
    others[-1] = Mask(True, np.array([40]), np.array([-3]))
    expected = both(twin, dcontext, query, *others)
    dcontext[:, :, :3] = query[:, :, :3] = np.nan
    for ours, theirs in zip(both(twin, dcontext, query, *others), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_nan_among_scores_of_minus_infinity_stays(twin):
    query, keys = np.ones((1, 1, 1, 2), np.float32), np.full((1, 1, 40, 2), -np.inf, np.float32)
    keys[0, 0, 7] = np.nan
    values = np.ones((1, 1, 40, 3), np.float32)
    mask = Mask(False, np.array([40]), np.array([0]))
    found = twin.scaled_attention_forward(query, keys, values, mask)
    for x in found:
        assert np.isnan(x).all()


@pytest.mark.parametrize("changed", range(6))
def test_arrays_that_do_not_fit_are_refused(twin, original, changed):
    """One of dcontext, query, keys, values, an array of the mask, and log_sums."""
    dcontext, *arrays, mask = case(np.random.default_rng(0), 2, 2, 2, 5, 5, 4, 3, np.float32)
    right = [dcontext, *arrays, mask, both(original, dcontext, *arrays, mask)[1]]

    def versions(array, most=5):
        return [wrong for wrong in wrong_versions(array) if np.ndim(wrong) < most]

    if changed == 4:
        wrongs = [replace(mask, start=wrong) for wrong in versions(mask.start, 2)]
        wrongs += [replace(mask, lengths=wrong) for wrong in versions(mask.lengths, 2)]
        wrongs += [replace(mask, lengths=mask.lengths + by) for by in (-9, 9)]
        wrongs += [replace(mask, window=window, sinks=-1) for window in (0, 3)]
        wrongs += [replace(mask, window=0)]
    else:
        wrongs = versions(right[changed], 4 if changed == 5 else 6)
    for wrong in wrongs:
        given = [*right[:changed], wrong, *right[changed + 1 :]]
        with contextlib.suppress(*WRONG):  # a forward may have more queries
            twin.scaled_attention_forward(*given[1:-1])
        with pytest.raises(WRONG):
            twin.scaled_attention_backward(*given)
