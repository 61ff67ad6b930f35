"""Attention apart from its gradient: masked keys have no effect, and values by hand."""

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.ops.scaled_dot_product_attention import scaled_attention_forward
from minillm.ops.softmax import masked_softmax
from minillm.testing import check_gradients, strategies

ATTENTIONS = ("additive", "projected", "dot", "general", "scaled", "causal", "biased")


def attend(kind, rng, B=3, T=3, S=4, D=5, E=2, A=4, dtype=np.float64):
    """-> a function of query, keys, values and lengths, and those three arrays."""

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    if kind in ("scaled", "causal"):
        arrays = normal(B, 2, T, D), normal(B, 2, S, D), normal(B, 2, S, E)
        return lambda q, k, v, lengths=None: ops.scaled_dot_product_attention(
            q, k, v, kind == "causal", lengths
        ), arrays
    if kind == "biased":
        bias = normal(2, T, S)

        def biased(q, k, v, lengths=None):
            y, backward = ops.biased_attention(q, k, v, bias, lengths)
            return y, lambda dy: backward(dy)[:3]

        return biased, (normal(B, 2, T, D), normal(B, 2, S, D), normal(B, 2, S, E))
    C = {"additive": 3, "projected": A, "general": 3, "dot": D}[kind]
    arrays = normal(B, T, D), normal(B, S, C), normal(B, S, E)
    if kind in ("additive", "projected"):
        W_q, v = normal(D, A), normal(A)
        W_k = normal(C, A) if kind == "additive" else None

        def op(query, keys, values, lengths=None):
            return ops.additive_attention(query, keys, values, W_q, W_k, v, lengths)
    else:
        W = normal(D, C) if kind == "general" else None

        def op(query, keys, values, lengths=None):
            return ops.multiplicative_attention(query, keys, values, W, lengths)

    return op, arrays


def outputs_and_gradients(op, arrays, lengths, upstream_rng):
    result, backward = op(*arrays, lengths)
    outputs = result if isinstance(result, tuple) else (result,)
    upstream = [upstream_rng.standard_normal(y.shape).astype(y.dtype) for y in outputs]
    return [*outputs, *backward(*upstream)]


@settings(max_examples=max(12, settings.default.max_examples // 2))
@given(rng=strategies.generators(), lengths=strategies.lengths(3, 4))
def test_gradients_of_dot_attention(kernels, rng, lengths):
    op, arrays = attend("dot", rng)
    with use_kernels(kernels):
        check_gradients(op, *arrays, lengths, rng=rng)


@settings(max_examples=max(12, settings.default.max_examples // 2))
@given(rng=strategies.generators(), lengths=strategies.lengths(3, 4))
def test_gradients_of_additive_attention_on_projected_keys(kernels, rng, lengths):
    _, arrays = attend("projected", rng)
    W_q, v = rng.standard_normal((5, 4)), rng.standard_normal(4)
    with use_kernels(kernels):
        check_gradients(ops.additive_attention, *arrays, W_q, None, v, lengths, rng=rng)


@pytest.mark.parametrize("kind", ATTENTIONS)
@given(rng=strategies.generators(), lengths=strategies.lengths(3, 4))
def test_what_stands_past_the_length_changes_nothing(kind, kernels, rng, lengths):
    op, (query, keys, values) = attend(kind, rng, dtype=np.float32)
    junk = rng.choice([np.nan, np.inf, -np.inf])
    dirty = [x.copy() for x in (keys, values)]
    for b, length in enumerate(lengths):
        for x in dirty:
            x[b, ..., length:, :] = junk
    seed = rng.integers(2**32)
    with use_kernels(kernels):
        clean, soiled = (
            outputs_and_gradients(op, arrays, lengths, np.random.default_rng(seed))
            for arrays in ((query, keys, values), (query, *dirty))
        )
    for one, other in zip(clean, soiled, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_row_without_any_key_is_zero_and_so_are_its_gradients(kind, kernels):
    rng = np.random.default_rng(1)
    op, arrays = attend(kind, rng)
    lengths = np.array([0, 2, 0])
    with use_kernels(kernels):
        results = outputs_and_gradients(op, arrays, lengths, rng)
    count = 1 if kind in ("scaled", "causal") else 2
    for y in (*results[:count], *results[count : count + 3]):
        assert np.all(np.isfinite(y))
        assert not y[[0, 2]].any()
        assert y[1].any()


@pytest.mark.parametrize("kind", ["additive", "projected", "dot", "general"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_gradient_by_weights_past_the_length_changes_nothing(kind, poison, kernels):
    rng = np.random.default_rng(0)
    op, arrays = attend(kind, rng)
    lengths = np.array([4, 2, 0])
    with use_kernels(kernels):
        (context, weights), backward = op(*arrays, lengths)
        dcontext, dweights = rng.standard_normal(context.shape), rng.standard_normal(weights.shape)
        dirty = np.where(np.arange(4) < lengths[:, None, None], dweights, poison)
        for one, other in zip(backward(dcontext, dirty), backward(dcontext, dweights), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["dot", "general", "scaled", "causal", "biased"])
def test_scores_that_are_all_minus_infinity_are_as_no_key_at_all(kind, kernels):
    """Products of large numbers may overflow: weights, context and gradients are then zero."""
    rng = np.random.default_rng(0)
    op, (query, keys, values) = attend(kind, rng, dtype=np.float32)
    keys = -1e20 * np.sign(np.abs(keys) + 1)
    query = np.abs(query)
    query[0] *= 1e20  # of the other rows, the scores are finite
    if kind == "general":
        keys = keys[..., :1]

        def op(query, keys, values, lengths):
            W = np.ones((query.shape[-1], 1), np.float32)
            return ops.multiplicative_attention(query, keys, values, W, lengths)

    lengths = np.array([3, 4, 2])
    with use_kernels(kernels), np.errstate(over="ignore"):
        results = outputs_and_gradients(op, (query, keys.astype(np.float32), values), lengths, rng)
    count = 1 if kind in ("scaled", "causal") else 2
    for y in (*results[:count], *results[count : count + 3]):
        assert np.isfinite(y).all()
        assert not y[0].any()
    assert results[0][1].any()


@pytest.mark.parametrize("kind", ["projected", "dot", "scaled", "causal", "biased"])
def test_a_query_that_looks_at_nothing_is_left_out_where_keys_are_infinite(kind, kernels):
    """Zero times infinity reaches no result: all results of its row are zero and finite."""
    rng = np.random.default_rng(0)
    op, arrays = attend(kind, rng)
    query, keys, values = (np.abs(x) for x in arrays)
    values[..., 0] = np.inf
    W_q, v = np.ones((5, 4)), np.full(4, -np.inf)

    def additive(query, keys, values, lengths):
        return ops.additive_attention(query, keys, values, W_q, None, v, lengths)

    if kind != "projected":
        keys[:] = -np.inf
    with use_kernels(kernels), np.errstate(invalid="ignore"):
        results = outputs_and_gradients(
            additive if kind == "projected" else op,
            (query, keys, values),
            np.array([4, 2, 0]),
            rng,
        )
    assert len(results) == {"projected": 7, "dot": 5}.get(kind, 4)
    for y in results:
        np.testing.assert_array_equal(y, 0)


@pytest.mark.parametrize("kind", ATTENTIONS)
@given(rng=strategies.generators(), lengths=strategies.lengths(3, 4))
def test_a_batch_equals_its_rows(kind, kernels, rng, lengths):
    op, arrays = attend(kind, rng)
    with use_kernels(kernels):
        whole, _ = op(*arrays, lengths)
        for b in range(3):
            n = max(1, lengths[b])  # a row alone needs no padding
            query, keys, values = (x[b : b + 1] for x in arrays)
            if kind not in ("causal", "biased"):  # there, S fixes where the queries stand
                keys, values = keys[..., :n, :], values[..., :n, :]
            alone, _ = op(query, keys, values, lengths[b : b + 1])
            if kind in ("scaled", "causal", "biased"):
                np.testing.assert_allclose(alone[0], whole[b], rtol=1e-12, atol=1e-12)
            else:
                np.testing.assert_allclose(alone[0][0], whole[0][b], rtol=1e-12, atol=1e-12)
                np.testing.assert_allclose(alone[1][0], whole[1][b, :, :n], rtol=1e-12, atol=1e-12)


@given(
    rng=strategies.generators(),
    T=st.integers(1, 5),
    S=st.integers(1, 5),
    lengths=strategies.lengths(2, 1),
)
def test_causal_queries_are_the_last_of_the_positions(kernels, rng, T, S, lengths):
    q, k, v = (rng.standard_normal((2, 1, n, 3)) for n in (T, S, S))
    lengths = lengths * S  # each row all or nothing
    with use_kernels(kernels):
        y, backward = ops.scaled_dot_product_attention(q, k, v, True, lengths)
        dq, _, _ = backward(np.ones_like(y))
        for t in range(T):
            seen = S - T + t + 1
            if seen <= 0:
                assert not y[:, :, t].any()
                assert not dq[:, :, t].any()
                continue
            alone, _ = ops.scaled_dot_product_attention(
                q[:, :, t : t + 1], k[:, :, :seen], v[:, :, :seen], False, np.minimum(lengths, seen)
            )
            np.testing.assert_allclose(y[:, :, t], alone[:, :, 0], rtol=1e-12, atol=1e-12)


@given(
    rng=strategies.generators(),
    sizes=strategies.sizes(T=(1, 4), S=(1, 6)),
    lengths=strategies.lengths(3, 6),
)
def test_causal_queries_see_what_is_not_later_than_their_own_position(kernels, rng, sizes, lengths):
    T, S = sizes.values()
    q, dy = rng.standard_normal((2, 3, 2, T, 5))
    k, v = rng.standard_normal((2, 3, 2, S, 5))
    lengths, start = np.minimum(lengths, S), rng.integers(0, S + 1, 3)
    with use_kernels(kernels):
        y, backward = ops.scaled_dot_product_attention(q, k, v, True, lengths, start)
        dq, dk, dv = backward(dy)
        dk_of_rows, dv_of_rows = np.zeros_like(dk), np.zeros_like(dv)
        for b in range(3):
            for t in range(T):
                seen = min(lengths[b], start[b] + t + 1)
                query = slice(b, b + 1), slice(None), slice(t, t + 1)
                alone, alone_backward = ops.scaled_dot_product_attention(
                    q[query], k[b : b + 1], v[b : b + 1], lengths=np.array([seen])
                )
                np.testing.assert_allclose(alone[0, :, 0], y[b, :, t], 1e-12, 1e-12)
                dq_alone, dk_alone, dv_alone = alone_backward(dy[query])
                np.testing.assert_allclose(dq_alone[0, :, 0], dq[b, :, t], 1e-12, 1e-12)
                dk_of_rows[b] += dk_alone[0]
                dv_of_rows[b] += dv_alone[0]
    np.testing.assert_allclose(dk_of_rows, dk, 1e-12, 1e-12)
    np.testing.assert_allclose(dv_of_rows, dv, 1e-12, 1e-12)


WINDOWS = {
    "rng": strategies.generators(),
    "sizes": strategies.sizes(T=(1, 6), S=(1, 8), W=(1, 9)),
    "lengths": strategies.lengths(3, 8),
    "cached": st.booleans(),
}


def within_a_window(rng, T, S, lengths, cached):
    """-> q, k, v, lengths, the position of each row's first query, and dy."""
    q, dy = rng.standard_normal((2, 3, 4, T, 5))
    k, v = rng.standard_normal((2, 3, 2, S, 5))
    start = rng.integers(0, S + 1, 3) if cached else np.full(3, S - T)
    return q, k, v, np.minimum(lengths, S), start, dy


def with_gradients(q, k, v, lengths, start, dy, window):
    mask = ops.Mask(True, lengths, start if (start >= 0).all() else None, window)
    y, backward = ops.scaled_dot_product_attention(q, k, v, mask=mask)
    return y, *backward(dy)


@given(**WINDOWS)
def test_a_window_is_attention_to_its_keys_alone(kernels, rng, sizes, lengths, cached):
    T, S, W = sizes.values()
    q, k, v, lengths, start, dy = within_a_window(rng, T, S, lengths, cached)
    with use_kernels(kernels):
        y, dq, dk, dv = with_gradients(q, k, v, lengths, start, dy, W)
        dk_of_rows, dv_of_rows = np.zeros_like(dk), np.zeros_like(dv)
        for b, t in np.ndindex(3, T):
            last = max(0, min(lengths[b], start[b] + t + 1))
            first = min(last, max(0, start[b] + t + 1 - W))
            query, seen = np.s_[b : b + 1, :, t : t + 1], np.s_[b : b + 1, :, first:last]
            if first == last:
                assert not y[query].any()
                assert not dq[query].any()
                continue
            alone, backward = ops.scaled_dot_product_attention(q[query], k[seen], v[seen])
            np.testing.assert_allclose(alone, y[query], 1e-12, 1e-12)
            dq_alone, dk_alone, dv_alone = backward(dy[query])
            np.testing.assert_allclose(dq_alone, dq[query], 1e-12, 1e-12)
            dk_of_rows[seen] += dk_alone
            dv_of_rows[seen] += dv_alone
    np.testing.assert_allclose(dk_of_rows, dk, 1e-12, 1e-12)
    np.testing.assert_allclose(dv_of_rows, dv, 1e-12, 1e-12)


@given(**WINDOWS)
def test_a_window_as_wide_as_the_text_changes_nothing(kernels, rng, sizes, lengths, cached):
    T, S, W = sizes.values()
    arguments = within_a_window(rng, T, S, lengths, cached)
    last = int(arguments[4].max()) + T  # a query stands before this position
    with use_kernels(kernels):
        without = with_gradients(*arguments, None)
        for window in (max(last, 1) + W - 1, 10**30):
            for one, other in zip(with_gradients(*arguments, window), without, strict=True):
                np.testing.assert_array_equal(one, other)


@given(**WINDOWS)
def test_a_key_outside_all_windows_has_no_influence(kernels, rng, sizes, lengths, cached):
    """Other keys and values there change no bit of the results; their gradients are zero."""
    T, S, W = sizes.values()
    q, k, v, lengths, start, dy = within_a_window(rng, T, S, lengths, cached)
    first = np.maximum(0, start - W + 1)[:, None, None, None]  # in the window of the first query
    outside = np.arange(S)[:, None] < first  # (3, 1, S, 1)
    others = [np.where(outside, 1e3 * rng.standard_normal(x.shape), x) for x in (k, v)]
    with use_kernels(kernels):
        results = with_gradients(q, k, v, lengths, start, dy, W)
        changed = with_gradients(q, *others, lengths, start, dy, W)
    for one, other in zip(results, changed, strict=True):
        np.testing.assert_array_equal(one, other)
    for dx in results[2:]:
        assert not dx[np.broadcast_to(outside, dx.shape)].any()


@given(**WINDOWS, sinks=st.integers(1, 4))
def test_sinks_are_attention_to_the_first_keys_and_the_window(
    kernels, rng, sizes, lengths, cached, sinks
):
    """Rows whose window has left the sinks behind: as with the keys between them taken out."""
    T, S, W = sizes.values()
    between, S = 3, sinks + 3 + W + T + S
    start = np.full(3, sinks + between + W - 1)  # of the first query: S is behind the last one
    q, dy = rng.standard_normal((2, 3, 4, 1, 5))
    k, v = rng.standard_normal((2, 3, 2, S, 5))
    hidden = np.arange(sinks, sinks + between)
    with use_kernels(kernels):
        mask = ops.Mask(True, None, start, W, sinks)
        y, backward = ops.scaled_dot_product_attention(q, k, v, mask=mask)
        dq, *dkv = backward(dy)
        shorter = [np.delete(x, hidden, axis=2)[:, :, : sinks + W] for x in (k, v)]
        alone, alone_backward = ops.scaled_dot_product_attention(q, *shorter)
        dq_alone, *dkv_alone = alone_backward(dy)
    np.testing.assert_allclose(y, alone, 1e-12, 1e-12)
    np.testing.assert_allclose(dq, dq_alone, 1e-12, 1e-12)
    for dx, dx_alone in zip(dkv, dkv_alone, strict=True):
        assert not dx[:, :, hidden].any()
        kept = np.delete(dx, hidden, axis=2)
        np.testing.assert_allclose(kept[:, :, : sinks + W], dx_alone, 1e-12, 1e-12)
        assert not kept[:, :, sinks + W :].any()


@pytest.mark.parametrize("T", [3, 9])
def test_gradients_with_sinks(kernels, T):
    """Of rows whose windows have left the sinks behind, and of one that has just begun."""
    rng, S = np.random.default_rng(0), 11
    q, k, v = (rng.standard_normal((3, heads, n, 3)) for heads, n in ((4, T), (2, S), (2, S)))
    mask = ops.Mask(True, np.array([S, S - 1, S]), np.array([S - T, S - T, 0]), 2, 3)
    with use_kernels(kernels):
        op = partial(ops.scaled_dot_product_attention, mask=mask)
        check_gradients(op, 2 * q, 2 * k, v, rng=rng)


@pytest.mark.parametrize(("window", "sinks"), [(None, 0), (2, 0), (2, 1)])
def test_sequences_of_a_packed_row_see_themselves_alone(kernels, window, sinks):
    """Each as it is alone, with its gradients; one is empty."""
    rng, lengths = np.random.default_rng(0), np.array([5, 0, 2, 3])
    q, k, v = (rng.standard_normal((1, heads, 10, 3)) for heads in (4, 2, 2))
    mask = ops.Mask(True, window=window, sinks=sinks)
    with use_kernels(kernels):
        row = replace(mask, rows=lengths)
        y, backward = ops.scaled_dot_product_attention(q, k, v, mask=row)
        gradients = backward(dy := rng.standard_normal(y.shape))
        for last, n in zip(np.cumsum(lengths)[[0, 2, 3]], lengths[[0, 2, 3]], strict=True):
            here = np.s_[:, :, last - n : last]
            alone, alone_backward = ops.scaled_dot_product_attention(
                q[here], k[here], v[here], mask=mask
            )
            np.testing.assert_allclose(y[here], alone, rtol=1e-12)
            for gradient, expected in zip(gradients, alone_backward(dy[here]), strict=True):
                np.testing.assert_allclose(gradient[here], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("fields", [{}, {"window": 2}, {"window": 2, "sinks": 1}])
def test_the_definition_of_a_packed_row(kernels, fields):
    """The op is a softmax over the keys that ``allowed`` has."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 9, 4))
    mask = ops.Mask(True, rows=np.array([4, 2, 3]), **fields)
    weights, _ = masked_softmax(q @ k.mT / 2, mask.allowed(9, 9))
    with use_kernels(kernels):
        y, _ = ops.scaled_dot_product_attention(q, k, v, mask=mask)
    np.testing.assert_allclose(y, weights @ v, 1e-12, 1e-12)


@given(
    rng=strategies.generators(),
    W=st.integers(1, 9),
    sinks=st.integers(0, 5),
    cuts=st.sets(st.integers(1, 11)),
)
def test_a_text_read_in_parts_has_the_windows_of_the_whole_text(kernels, rng, W, sinks, cuts):
    """Each part with its start, as a cache has it."""
    q, k, v = rng.standard_normal((3, 2, 3, 12, 4))
    ends = [*sorted(cuts), 12]
    with use_kernels(kernels):
        mask = ops.Mask(True, window=W, sinks=sinks)
        whole, _ = ops.scaled_dot_product_attention(q, k, v, mask=mask)
        for first, last in zip([0, *ends], ends, strict=False):
            from_first = replace(mask, start=np.full(2, first))
            part, _ = ops.scaled_dot_product_attention(q[:, :, first:last], k, v, mask=from_first)
            np.testing.assert_allclose(part, whole[:, :, first:last], 1e-12, 1e-12)


@given(
    rng=strategies.generators(),
    sizes=strategies.sizes(M=(1, 3), G=(1, 3), T=(1, 4), S=(1, 4)),
    causal=st.booleans(),
    lengths=strategies.lengths(2, 4),
)
def test_grouped_heads_are_repeated_heads(kernels, rng, sizes, causal, lengths):
    M, G, T, S = sizes.values()
    q, k = rng.standard_normal((2, M * G, T, 5)), rng.standard_normal((2, M, S, 5))
    v, dy = rng.standard_normal((2, M, S, 3)), rng.standard_normal((2, M * G, T, 3))
    lengths = np.minimum(lengths, S)
    repeated = [np.repeat(x, G, axis=1) for x in (k, v)]
    with use_kernels(kernels):
        y, backward = ops.scaled_dot_product_attention(q, k, v, causal, lengths)
        expected, other = ops.scaled_dot_product_attention(q, *repeated, causal, lengths)
        (dq, *shared), (dq_expected, *each) = backward(dy), other(dy)
    np.testing.assert_allclose(y, expected, 1e-12, 1e-12)
    np.testing.assert_allclose(dq, dq_expected, 1e-12, 1e-12)
    for ours, theirs in zip(shared, each, strict=True):
        summed = theirs.reshape(2, M, G, S, -1).sum(axis=2)
        np.testing.assert_allclose(ours, summed, 1e-12, 1e-12)


@given(rng=strategies.generators(), T=st.integers(1, 4))
def test_a_cache_with_a_position_for_each_row(kernels, rng, T):
    """Keys and values inside a larger array, with NaN in unused places, give the same results."""
    B, M, S, D = 3, 2, 6, 4
    start = rng.integers(0, S - T + 1, B)
    q, dy = rng.standard_normal((2, B, 2 * M, T, D))
    cache = np.full((2, B, S + 3, M, D), np.nan)  # a layout of its own
    k, v = cache[:, :, 1 : S + 1].swapaxes(2, 3)
    for b in range(B):
        for x in (k, v):
            x[b, :, : start[b] + T] = rng.standard_normal((M, start[b] + T, D))
    with use_kernels(kernels):
        y, backward = ops.scaled_dot_product_attention(q, k, v, True, start=start)
        gradients = backward(dy)
        for b in range(B):
            row, seen = slice(b, b + 1), start[b] + T
            alone, alone_backward = ops.scaled_dot_product_attention(
                q[row], k[row, :, :seen].copy(), v[row, :, :seen].copy(), True
            )
            np.testing.assert_allclose(y[row], alone, 1e-12, 1e-12)
            for ours, theirs in zip(gradients, alone_backward(dy[row]), strict=True):
                n = theirs.shape[2]
                np.testing.assert_allclose(ours[row, :, :n], theirs, 1e-12, 1e-12)
                assert not ours[row, :, n:].any()


def test_a_cache_is_not_copied(monkeypatch):
    """Keys and values reach the kernel without a copy if their last axis is contiguous."""
    forward, seen = scaled_attention_forward.__wrapped__, []

    def spy(query, keys, values, *rest):
        seen.extend([keys, values])
        return forward(query, keys, values, *rest)

    page = sys.modules[forward.__module__]  # the name `ops.scaled_...` is the function's
    monkeypatch.setattr(page, "scaled_attention_forward", spy)
    cache = np.zeros((2, 1, 2, 9, 4))
    ops.scaled_dot_product_attention(np.zeros((1, 2, 1, 4)), *cache[..., :5, :])
    ops.scaled_dot_product_attention(np.zeros((1, 2, 1, 2)), *cache[..., ::2])
    assert [np.shares_memory(x, cache) for x in seen] == [True, True, False, False]
    assert all(x.strides[-1] == x.itemsize for x in seen)


def test_weights_sum_to_one_and_survive_scores_that_overflow_exp(kernels):
    rng = np.random.default_rng(2)
    for kind in ("additive", "dot", "general"):
        op, (query, keys, values) = attend(kind, rng, dtype=np.float32)
        with use_kernels(kernels):
            (context, weights), _ = op(1000 * query, 1000 * keys, values)
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
        assert np.all(np.isfinite(context))


def test_the_values_by_hand(kernels):
    """Two keys, one query, numbers that fit on paper."""
    query = np.array([[[1.0, 2.0]]])
    keys = np.array([[[0.0, 0.0], [np.log(3.0), 0.0]]])
    values = np.array([[[4.0], [8.0]]])
    with use_kernels(kernels):
        (context, weights), _ = ops.multiplicative_attention(query, keys, values)
        # scores 0 and log 3: weights 1/4 and 3/4
        np.testing.assert_allclose(weights, [[[0.25, 0.75]]], rtol=1e-12)
        np.testing.assert_allclose(context, [[[7.0]]], rtol=1e-12)
        W = np.array([[0.0, 0.0], [0.5, 0.0]])  # q W = (1, 0): the same again
        (context, _), _ = ops.multiplicative_attention(query, keys, values, W)
        np.testing.assert_allclose(context, [[[7.0]]], rtol=1e-12)
        y, _ = ops.scaled_dot_product_attention(
            query[None], np.sqrt(2.0) * keys[None], values[None]
        )
        np.testing.assert_allclose(y, [[[[7.0]]]], rtol=1e-12)
        # tanh(0 + 0) = 0 and tanh(0 + 50) = 1, times v = log 3
        (context, _), _ = ops.additive_attention(
            query,
            np.array([[[0.0], [50.0]]]),
            values,
            np.zeros((2, 1)),
            np.ones((1, 1)),
            np.array([np.log(3.0)]),
        )
        np.testing.assert_allclose(context, [[[7.0]]], rtol=1e-12)


@given(rng=strategies.generators(), lengths=strategies.lengths(3, 4))
def test_a_bias_of_zeros_changes_nothing_and_one_for_all_keys_neither(rng, lengths):
    q, k, v = rng.standard_normal((3, 3, 2, 4, 5))
    expected, backward = ops.scaled_dot_product_attention(q, k, v, lengths=lengths)
    dy = rng.standard_normal(expected.shape)
    for bias in (np.zeros((2, 4, 4)), np.tile(rng.standard_normal((2, 4, 1)), 4)):
        y, biased_backward = ops.biased_attention(q, k, v, bias, lengths)
        np.testing.assert_allclose(y, expected, atol=1e-12)
        *gradients, dbias = biased_backward(dy)
        for ours, other in zip(gradients, backward(dy), strict=True):
            np.testing.assert_allclose(ours, other, atol=1e-12)
        np.testing.assert_allclose(dbias.sum(axis=2), 0, atol=1e-12)


def test_a_bias_of_minus_infinity_masks_a_key():
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, 2, 4, 5))
    bias = np.where(np.tri(4, dtype=bool), 0, np.full((2, 4, 4), -np.inf))
    expected, _ = ops.scaled_dot_product_attention(q, k, v, causal=True)
    np.testing.assert_allclose(ops.biased_attention(q, k, v, bias)[0], expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_padded_keys_have_no_gradient_where_a_query_is_infinite():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 4, 5))
    q[0, 0, 0] = np.inf
    y, backward = ops.biased_attention(q, k, v, np.zeros((2, 4, 4)), np.array([2]))
    _, dk, dv, _ = backward(np.ones_like(y))
    for gradient in (dk, dv):
        np.testing.assert_array_equal(gradient[:, :, 2:], 0)
