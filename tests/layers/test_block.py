"""Transformer blocks of either order: gradients, padding, and masks."""

import numpy as np
import pytest

from minillm.layers import heads
from minillm.layers.block import new_block, post_norm, pre_norm
from minillm.layers.dense import feed_forward, gated_feed_forward
from minillm.layers.fresh import draw_all, glorot
from minillm.layers.norms import new_norm, norm
from minillm.testing import check_projections

pytestmark = pytest.mark.usefixtures("both_twins")
D, F, N, LENGTHS = 4, 6, 2, np.array([5, 2])
ORDERS = pytest.mark.parametrize("order", [post_norm, pre_norm])


def weights(cross=False, seed=0):
    """Random weights of a block, including biases and gains."""
    rng = np.random.default_rng(seed)
    params = draw_all(new_block("b", D, F, glorot, cross=cross), rng, np.float64)
    return {
        name: array + 0.3 * rng.standard_normal(array.shape) * (array.ndim == 1)
        for name, array in params.items()
    }


def inputs(seed=1, S=5, T=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, T, D)), rng.standard_normal((2, S, D))


def block(order, params, x, attend, memory=None, **options):
    """A block with cross-attention, if there is a memory, or without."""

    def attention(x):
        return heads.self_attention(params, "b.attention", x, N, attend)

    def cross(x):
        return heads.cross_attention(params, "b.cross", x, memory, LENGTHS, N)

    def forward(x):
        return feed_forward(params, "b.feed_forward", x)  # gelu has no kink

    branches = [attention, forward] if memory is None else [attention, cross, forward]
    named = {f"b.norm_{number}": branch for number, branch in enumerate(branches, start=1)}
    return order(params, named, x, **options)


def unusual():
    return {"dropout": 0.3, "rng": np.random.default_rng(2), "eps": 1e-3}


def check(layer, params, *arrays):
    """The gradients of a block, by its inputs and weights.

    By projections, for that of a bias of keys is zero: it shifts all scores of a query alike.
    """
    names = ("x", "memory")[: len(arrays)]
    params = params | dict(zip(names, arrays, strict=True))
    upstream = np.random.default_rng(3).standard_normal(arrays[0].shape)

    def loss():
        y, block_backward = layer(params, *(params[name] for name in names))

        def backward():
            *dinputs, gradients = block_backward(upstream)
            return gradients | dict(zip(names, dinputs, strict=True))

        return (y * upstream).sum(), backward

    assert loss()[1]().keys() == params.keys()
    check_projections(loss, params, rng=np.random.default_rng(4))


@ORDERS
def test_the_gradients_of_an_encoder_block(order):
    def encoder(params, x):
        return block(order, params, x, heads.to_all(LENGTHS), **unusual())

    check(encoder, weights(), inputs()[1])


@ORDERS
def test_the_gradients_of_a_decoder_block(order):
    def decoder(params, x, memory):
        return block(order, params, x, heads.causal, memory, **unusual())

    check(decoder, weights(cross=True), *inputs())


def test_the_gradients_of_a_gated_feed_forward_layer():
    rng, F = np.random.default_rng(0), 3
    params = {
        "f.W_gate_up": rng.standard_normal((D, 2 * F)),
        "f.W_down": rng.standard_normal((F, D)),
    }
    x, _ = inputs()
    y, _ = gated_feed_forward(params, "f", x)
    gate, up = np.split(x @ params["f.W_gate_up"], 2, axis=-1)
    expected = gate / (1 + np.exp(-gate)) * up @ params["f.W_down"]
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    check(lambda params, x: gated_feed_forward(params, "f", x), params, x)


@ORDERS
def test_where_the_norm_stands(order):
    x, _ = inputs()
    params = draw_all(new_norm("n", D) | new_norm("m", D), np.random.default_rng(0), np.float64)

    def normed(x):
        return norm(params, "n", x)[0]

    branches = {"n": lambda x: (2 * x, None), "m": lambda x: (5 * x, None)}
    y, _ = order(params, branches, x)
    if order is post_norm:
        between = normed(x + 2 * x)
        expected = normed(between + 5 * between)
    else:
        between = x + 2 * normed(x)
        expected = between + 5 * normed(between)
    np.testing.assert_allclose(y, expected, rtol=1e-12)


@ORDERS
def test_an_encoder_sees_the_whole_row_and_nothing_past_it(order):
    params, (_, x) = weights(), inputs()

    def output(x):
        return block(order, params, x, heads.to_all(LENGTHS))[0]

    y, changed = output(x), x.copy()
    changed[1, 2:, 0] += 9
    np.testing.assert_array_equal(output(changed)[0], y[0])
    np.testing.assert_array_equal(output(changed)[1, :2], y[1, :2])
    changed[0, 4, 0] += 9
    assert np.all(np.abs(output(changed)[0, 0] - y[0, 0]) > 1e-9)


@ORDERS
def test_a_decoder_sees_the_targets_before_and_the_whole_source(order):
    params, (x, memory) = weights(cross=True), inputs()

    def output(x, memory):
        return block(order, params, x, heads.causal, memory)[0]

    y, later, padded = output(x, memory), x.copy(), memory.copy()
    later[:, 2, 0] += 9
    np.testing.assert_allclose(output(later, memory)[:, :2], y[:, :2], rtol=1e-12)
    assert np.all(np.abs(output(later, memory)[:, 3] - y[:, 3]) > 1e-9)
    padded[1, 2:, 0] += 9
    np.testing.assert_array_equal(output(x, padded), y)
    padded[0, 4, 0] += 9
    assert np.all(np.abs(output(x, padded)[0] - y[0]) > 1e-9)


def test_cross_attention_is_what_its_docstring_says():
    params, (x, memory) = weights(cross=True), inputs()
    y, _ = heads.cross_attention(params, "b.cross", x, memory, LENGTHS, N)
    p = {name.removeprefix("b.cross."): array for name, array in params.items()}
    for b, length in enumerate(LENGTHS):
        q = x[b] @ p["W_q"] + p["b_q"]
        k, v = np.split(memory[b, :length] @ p["W_kv"] + p["b_kv"], 2, axis=1)
        parts = []
        for columns in (slice(0, 2), slice(2, 4)):
            exp_scores = np.exp(q[:, columns] @ k[:, columns].T / np.sqrt(2))
            parts.append(exp_scores / exp_scores.sum(1, keepdims=True) @ v[:, columns])
        expected = np.concatenate(parts, axis=1) @ p["W_o"] + p["b_o"]
        np.testing.assert_allclose(y[b], expected, rtol=1e-9)


def test_queries_keys_and_values_side_by_side():
    whole = np.random.default_rng(0).normal(size=(2, 5, 3, 4, 6))  # (B, T, 3, N, D/N)
    parts = [whole[:, :, part].transpose(0, 2, 1, 3) for part in (2, 0, 1)]
    expected = np.concatenate([heads.join_heads(part) for part in parts], axis=-1)
    np.testing.assert_array_equal(heads.join_qkv(*parts), expected)


@pytest.mark.parametrize("attend", [heads.to_all(), heads.causal])
def test_heads_may_share_keys_and_values(attend):
    """Four heads of queries and two of keys equal four of each with repeated keys."""
    rng, width = np.random.default_rng(0), 3
    x = rng.standard_normal((2, 5, D))
    q, k, v = (rng.standard_normal((D, n * width)) for n in (4, 2, 2))
    bias = rng.standard_normal((4 + 2 + 2) * width)
    output = {"a.W_o": rng.standard_normal((4 * width, D)), "a.b_o": rng.standard_normal(D)}
    params = output | {"a.W_qkv": np.concatenate([q, k, v], axis=1), "a.b_qkv": bias}

    def twice(array):
        heads_of = np.split(array, 2, axis=-1)
        return np.concatenate([heads_of[0]] * 2 + [heads_of[1]] * 2, axis=-1)

    b_q, b_k, b_v = np.split(bias, [4 * width, 6 * width])
    repeated = output | {
        "a.W_qkv": np.concatenate([q, twice(k), twice(v)], axis=1),
        "a.b_qkv": np.concatenate([b_q, twice(b_k), twice(b_v)]),
    }
    y, _ = heads.self_attention(params, "a", x, 4, attend, 2)
    expected, _ = heads.self_attention(repeated, "a", x, 4, attend)
    np.testing.assert_allclose(y, expected, rtol=1e-12)

    def layer(params, x):
        return heads.self_attention(params, "a", x, 4, attend, 2)

    check(layer, params, x)
