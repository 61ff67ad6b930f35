"""Attention apart from its gradient: who sees whom, queries that see nothing, values by hand."""

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.ops.scaled_dot_product_attention import scaled_attention_forward
from minillm.testing import check_gradients, strategies

from .cases import tuple_of, upstream_of

# --- who sees whom: Mask ------------------------------------------------------------------


def sees(mask, b, i, j):
    """Whether the query at position i of row b sees the key at position j."""
    if mask.rows is not None:  # positions are counted in each sequence
        ends = np.cumsum(mask.rows)
        sequence, other = (int(np.searchsorted(ends, n, side="right")) for n in (i, j))
        before = ends[sequence] - mask.rows[sequence]
        i, j = i - before, j - before if sequence == other else -1
    if j < 0 or (mask.lengths is not None and j >= mask.lengths[b]):
        return False
    in_window = mask.window is None or j > i - mask.window or j < mask.sinks
    return not mask.causal or (j <= i and in_window)


def by_definition(q, k, v, mask):
    """One query of one head after the other."""
    y, group = np.zeros((*q.shape[:3], v.shape[3])), q.shape[1] // k.shape[1]
    (B, N, T, D), S = q.shape, k.shape[2]
    for b, n, t in np.ndindex(B, N, T):
        first = S - T if mask.start is None else mask.start[b]
        seen = [j for j in range(S) if sees(mask, b, first + t, j)]
        if seen:
            p = np.exp(k[b, n // group, seen] @ q[b, n, t] / np.sqrt(D))
            y[b, n, t] = p / p.sum() @ v[b, n // group, seen]
    return y


SIZES = strategies.sizes(M=(1, 2), G=(1, 3), T=(1, 4), S=(1, 8), W=(1, 9), sinks=(0, 4))


def masked_case(rng, M, G, T, S, W, sinks, fields):
    """Queries in groups of G heads, keys and values, and a mask with some of the fields."""
    q = rng.standard_normal((3, M * G, T, 5))
    k, v = rng.standard_normal((3, M, S, 5)), rng.standard_normal((3, M, S, 2))
    window, sinks = (W, sinks) if "window" in fields else (None, 0)
    return (q, k, v), ops.Mask(
        "causal" in fields or window is not None,
        rng.integers(0, S + 1, 3) if "lengths" in fields else None,
        rng.integers(0, S + 1, 3) if "start" in fields else None,
        window,
        sinks,
    )


@pytest.mark.parametrize("fields", ["", "causal", "causal start", "window", "window start"])
@given(rng=strategies.generators(), sizes=SIZES, lengths=st.sampled_from(["", " lengths"]))
def test_each_query_attends_to_the_keys_that_it_sees(kernels, fields, rng, sizes, lengths):
    """Grouped heads, and with a start any part of a text that a cache has read."""
    inputs, mask = masked_case(rng, **sizes, fields=fields + lengths)
    with use_kernels(kernels):
        y, _ = ops.scaled_dot_product_attention(*inputs, mask=mask)
        if mask.window is None:
            one_by_one = mask.causal, mask.lengths, mask.start
            same, _ = ops.scaled_dot_product_attention(*inputs, *one_by_one)
            np.testing.assert_array_equal(same, y)
        else:
            everything = replace(mask, window=10**30, sinks=0)
            y_of_all, _ = ops.scaled_dot_product_attention(*inputs, mask=everything)
            plain = by_definition(*inputs, replace(mask, window=None, sinks=0))
            np.testing.assert_allclose(y_of_all, plain, 1e-12, 1e-12)
    np.testing.assert_allclose(y, by_definition(*inputs, mask), 1e-12, 1e-12)


@pytest.mark.parametrize("window", [(None, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_sequences_of_a_packed_row_see_themselves_alone(kernels, causal, window):
    rng, rows = np.random.default_rng(0), np.array([5, 0, 1, 4])
    inputs = [rng.standard_normal((1, heads, 10, 3)) for heads in (4, 2, 2)]
    mask = ops.Mask(causal, None, None, *(window if causal else (None, 0)), rows)
    with use_kernels(kernels):
        y, _ = ops.scaled_dot_product_attention(*inputs, mask=mask)
    np.testing.assert_allclose(y, by_definition(*inputs, mask), 1e-12, 1e-12)
    allowed = np.broadcast_to(mask.allowed(10, 10), (1, 1, 10, 10))
    for i, j in np.ndindex(10, 10):
        assert allowed[0, 0, i, j] == sees(mask, 0, i, j)


MASKS = {  # that the cases of the op leave out
    "sinks left behind": ops.Mask(True, np.array([7, 6, 7]), np.array([4, 4, 0]), 2, 2),
    "a packed row": ops.Mask(True, window=2, sinks=1, rows=np.array([3, 0, 1, 3])),
}


@pytest.mark.parametrize("name", MASKS)
def test_gradients_of_masks(kernels, name):
    rng, mask = np.random.default_rng(0), MASKS[name]
    B, T = (3, 3) if mask.rows is None else (1, 7)
    q, k, v = (rng.standard_normal((B, heads, n, 2)) for heads, n in ((2, T), (1, 7), (1, 7)))
    with use_kernels(kernels):
        op = partial(ops.scaled_dot_product_attention, mask=mask)
        check_gradients(op, 2 * q, 2 * k, v, rng=rng)


@given(rng=strategies.generators(), T=st.integers(1, 4))
def test_the_free_part_of_a_cache_may_be_nan(kernels, rng, T):
    """Keys and values inside a larger array, in a layout of its own."""
    B, M, S, D = 3, 2, 6, 4
    start = rng.integers(0, S - T + 1, B)
    q, dy = rng.standard_normal((2, B, 2 * M, T, D))
    cache = rng.standard_normal((2, B, S + 3, M, D))
    k, v = cache[:, :, 1 : S + 1].swapaxes(2, 3)
    copies = k.copy(), v.copy()
    for b in range(B):
        cache[:, b, 1 + start[b] + T :] = np.nan
    results = []
    with use_kernels(kernels):
        for keys, values in ((k, v), copies):
            y, backward = ops.scaled_dot_product_attention(q, keys, values, True, start=start)
            results.append((y, *backward(dy)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, 1e-12, 1e-12)
    for b, dx in np.ndindex(B, 2):
        assert not results[0][2 + dx][b, :, start[b] + T :].any()


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


# --- queries that attend to nothing -------------------------------------------------------


def attend(kind, q, k, v, lengths, u=1.0):
    """One kind of attention on q (B, T, D), k (B, S, D), v (B, S, E); its weights are ones."""
    W, u = np.ones((q.shape[2], q.shape[2]), q.dtype), np.full(q.shape[2], u, q.dtype)
    if kind in ("additive", "projected"):
        return ops.additive_attention(q, k, v, W, W if kind == "additive" else None, u, lengths)
    if kind in ("dot", "general"):
        return ops.multiplicative_attention(q, k, v, W if kind == "general" else None, lengths)
    heads = q[:, None], k[:, None], v[:, None]
    if kind == "biased":
        bias = np.linspace(0, 1, q.shape[1] * k.shape[1], dtype=q.dtype)
        return ops.biased_attention(*heads, bias.reshape(1, q.shape[1], k.shape[1]), lengths)
    return ops.scaled_dot_product_attention(*heads, kind == "causal", lengths)


def outputs_and_gradients(kind, *inputs, **options):
    """The outputs, and the gradients of all arguments but the bias, which has no rows."""
    outputs, backward = attend(kind, *inputs, **options)
    gradients = tuple_of(backward(*upstream_of(outputs, np.random.default_rng(1))))
    return tuple_of(outputs), gradients[:3] if kind == "biased" else gradients


def drawn():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in ((3, 3, 5), (3, 4, 5), (3, 4, 2))]


ATTENTIONS = ("additive", "projected", "dot", "general", "scaled", "causal", "biased")


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_row_without_any_key_is_zero_and_so_are_its_gradients(kind, kernels):
    with use_kernels(kernels):
        outputs, gradients = outputs_and_gradients(kind, *drawn(), np.array([0, 2, 0]))
    for y in (*outputs, *gradients[:3]):
        assert np.all(np.isfinite(y))
        assert not y[[0, 2]].any()
        assert y[1].any()


@pytest.mark.parametrize("kind", ["dot", "general", "scaled", "causal", "biased"])
def test_scores_that_are_all_minus_infinity_are_as_no_key_at_all(kind, kernels):
    """Products of large numbers may overflow: weights, context and gradients are then zero."""
    q, k, v = (x.astype(np.float32) for x in drawn())
    q = np.abs(q)
    q[0] *= 1e20  # of the other rows, the scores are finite
    k = np.full_like(k, -1e20)
    with use_kernels(kernels), np.errstate(over="ignore"):
        outputs, gradients = outputs_and_gradients(kind, q, k, v, np.array([3, 4, 2]))
    for y in (*outputs, *gradients[:3]):
        assert np.isfinite(y).all()
        assert not y[0].any()
    assert outputs[0][1].any()


@pytest.mark.parametrize("kind", ["projected", "dot", "scaled", "causal", "biased"])
def test_a_query_that_looks_at_nothing_is_left_out_where_keys_are_infinite(kind, kernels):
    """Zero times infinity reaches no result: all results of its row are zero and finite."""
    q, k, v = map(np.abs, drawn())
    v[..., 0] = np.inf
    if kind != "projected":  # its scores are a sum of u times a tanh
        k[:] = -np.inf
    with use_kernels(kernels), np.errstate(invalid="ignore"):
        outputs, gradients = outputs_and_gradients(kind, q, k, v, np.array([4, 2, 0]), u=-np.inf)
    for y in (*outputs, *gradients):
        np.testing.assert_array_equal(y, 0)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_padded_keys_have_no_gradient_where_a_query_is_infinite():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 4, 5))
    q[0, 0, 0] = np.inf
    y, backward = ops.biased_attention(q, k, v, np.zeros((2, 4, 4)), np.array([2]))
    _, dk, dv, _ = backward(np.ones_like(y))
    for gradient in (dk, dv):
        np.testing.assert_array_equal(gradient[:, :, 2:], 0)


@pytest.mark.parametrize("kind", ["additive", "dot", "general"])
def test_weights_sum_to_one_and_survive_scores_that_overflow_exp(kind, kernels):
    q, k, v = (x.astype(np.float32) for x in drawn())
    with use_kernels(kernels):
        (context, weights), _ = attend(kind, 1000 * q, 1000 * k, v, None)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    assert np.all(np.isfinite(context))


# --- values by hand -----------------------------------------------------------------------


def test_the_values_by_hand(kernels):
    """Two keys, one query, numbers that fit on paper: weights 1/4 and 3/4."""
    query = np.array([[[1.0, 2.0]]])
    keys = np.array([[[0.0, 0.0], [np.log(3.0), 0.0]]])
    values = np.array([[[4.0], [8.0]]])
    W = np.array([[0.0, 0.0], [0.5, 0.0]])  # q W = (1, 0): the scores are 0 and log 3
    far, one = np.array([[[0.0], [50.0]]]), np.ones((1, 1))  # tanh(0 + 50) = 1
    with use_kernels(kernels):
        (context, weights), _ = ops.multiplicative_attention(query, keys, values)
        (general, _), _ = ops.multiplicative_attention(query, keys, values, W)
        heads = query[None], np.sqrt(2.0) * keys[None], values[None]
        scaled, _ = ops.scaled_dot_product_attention(*heads)
        (additive, _), _ = ops.additive_attention(
            query, far, values, np.zeros((2, 1)), one, np.array([np.log(3.0)])
        )
    np.testing.assert_allclose(weights, [[[0.25, 0.75]]], rtol=1e-12)
    for y in (context, general, scaled, additive):
        np.testing.assert_allclose(y.ravel(), [7.0], rtol=1e-12)


@given(rng=strategies.generators(), lengths=strategies.lengths(3, 4))
def test_a_bias_that_is_the_same_for_all_keys_changes_nothing(rng, lengths):
    q, k, v = rng.standard_normal((3, 3, 2, 4, 5))
    expected, _ = ops.scaled_dot_product_attention(q, k, v, lengths=lengths)
    bias = np.tile(rng.standard_normal((2, 4, 1)), 4)
    y, backward = ops.biased_attention(q, k, v, bias, lengths)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    *_, dbias = backward(rng.standard_normal(y.shape))
    np.testing.assert_allclose(dbias.sum(axis=2), 0, atol=1e-12)


def test_a_bias_of_minus_infinity_masks_a_key():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 4, 5))
    bias = np.where(np.tri(4, dtype=bool), 0, np.full((2, 4, 4), -np.inf))
    expected, _ = ops.scaled_dot_product_attention(q, k, v, causal=True)
    np.testing.assert_allclose(ops.biased_attention(q, k, v, bias)[0], expected, atol=1e-12)


def test_attention_flow_by_hand():
    """Word by word, by the equations in the docstring."""
    rng = np.random.default_rng(0)
    h, u = rng.standard_normal((1, 3, 2)), rng.standard_normal((1, 2, 2))
    w_h, w_u, w_hu = rng.standard_normal((3, 2))
    s = [[w_h @ x + w_u @ y + (x * w_hu) @ y for y in u[0]] for x in h[0]]
    b = np.exp([max(row) for row in s])
    c = (b / b.sum()) @ h[0]
    g, _ = ops.attention_flow(h, u, w_h, w_u, w_hu)
    for t in range(3):
        a = np.exp(s[t]) / np.exp(s[t]).sum()
        v = a @ u[0]
        expected = np.concatenate([h[0, t], v, h[0, t] * v, h[0, t] * c])
        np.testing.assert_allclose(g[0, t], expected, rtol=1e-12)


def test_attention_flow_without_a_question_leaves_the_text():
    h, u = np.ones((1, 2, 3)), np.ones((1, 1, 3))
    g, backward = ops.attention_flow(h, u, *np.ones((3, 3)), None, np.array([0]))
    np.testing.assert_array_equal(g[..., :3], h)
    np.testing.assert_array_equal(g[..., 3:], 0)
    dh, *others = backward(np.ones_like(g))
    np.testing.assert_array_equal(dh, 1)
    assert not any(other.any() for other in others)
