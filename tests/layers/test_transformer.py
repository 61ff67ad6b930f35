"""Transformer blocks: gradients, padding, and who sees what."""

import numpy as np
import pytest

from minillm import ops
from minillm.layers import decoder, encoder, transformer
from minillm.layers.fresh import draw_all, glorot
from minillm.testing import check_projections

pytestmark = pytest.mark.usefixtures("both_twins")
D, F, N, LENGTHS = 4, 6, 2, np.array([5, 2])
ORDERS = pytest.mark.parametrize("post_norm", [True, False])


def weights(new_block, seed=0):
    """Fresh weights of a block, no bias zero and no gain one."""
    rng = np.random.default_rng(seed)
    params = draw_all(new_block("b", D, F, glorot), rng, np.float64)
    return {
        name: array + 0.3 * rng.standard_normal(array.shape) * (array.ndim == 1)
        for name, array in params.items()
    }


def inputs(seed=1, S=5, T=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, T, D)), rng.standard_normal((2, S, D))


def options(post_norm, rate=0.3):
    return {
        "post_norm": post_norm,
        "activation": ops.gelu,  # it has no kink
        "epsilon": 1e-3,
        "rate": rate,
        "rng": np.random.default_rng(2),
    }


def check(block, params, *arrays):
    """The gradients of a block, by its inputs and weights.

    By projections, for that of a bias of keys is zero: it shifts all scores of a query alike.
    """
    names = ("x", "memory")[: len(arrays)]
    params = params | dict(zip(names, arrays, strict=True))
    upstream = np.random.default_rng(3).standard_normal(arrays[0].shape)

    def loss():
        y, block_backward = block(params, *(params[name] for name in names))

        def backward():
            *dinputs, gradients = block_backward(upstream)
            return gradients | dict(zip(names, dinputs, strict=True))

        return (y * upstream).sum(), backward

    assert loss()[1]().keys() == params.keys()
    check_projections(loss, params, rng=np.random.default_rng(4))


@ORDERS
def test_the_gradients_of_an_encoder_block(post_norm):
    def block(params, x):
        return encoder.encoder_block(params, "b", x, N, LENGTHS, **options(post_norm))

    check(block, weights(encoder.new_block), inputs()[1])


@ORDERS
def test_the_gradients_of_a_decoder_block(post_norm):
    def block(params, x, memory):
        return decoder.decoder_block(params, "b", x, memory, LENGTHS, N, **options(post_norm))

    check(block, weights(decoder.new_block), *inputs())


@ORDERS
def test_where_the_norm_stands(post_norm):
    x, _ = inputs()
    params = draw_all(transformer.new_norm("n", D), np.random.default_rng(0), np.float64)
    y, _ = encoder.residual(params, "n", x, lambda x: (2 * x, None), post_norm=post_norm)
    normed = transformer.norm(params, "n", 3 * x if post_norm else x)[0]
    np.testing.assert_allclose(y, normed if post_norm else x + 2 * normed, rtol=1e-12)


@ORDERS
def test_an_encoder_sees_the_whole_row_and_nothing_past_it(post_norm):
    params, (_, x) = weights(encoder.new_block), inputs()

    def output(x):
        return encoder.encoder_block(params, "b", x, N, LENGTHS, post_norm=post_norm)[0]

    y, changed = output(x), x.copy()
    changed[1, 2:, 0] += 9
    np.testing.assert_array_equal(output(changed)[0], y[0])
    np.testing.assert_array_equal(output(changed)[1, :2], y[1, :2])
    changed[0, 4, 0] += 9
    assert np.all(np.abs(output(changed)[0, 0] - y[0, 0]) > 1e-9)


@ORDERS
def test_a_decoder_sees_the_targets_before_and_the_whole_source(post_norm):
    params, (x, memory) = weights(decoder.new_block), inputs()

    def output(x, memory):
        return decoder.decoder_block(params, "b", x, memory, LENGTHS, N, post_norm=post_norm)[0]

    y, later, padded = output(x, memory), x.copy(), memory.copy()
    later[:, 2, 0] += 9
    np.testing.assert_allclose(output(later, memory)[:, :2], y[:, :2], rtol=1e-12)
    assert np.all(np.abs(output(later, memory)[:, 3] - y[:, 3]) > 1e-9)
    padded[1, 2:, 0] += 9
    np.testing.assert_array_equal(output(x, padded), y)
    padded[0, 4, 0] += 9
    assert np.all(np.abs(output(x, padded)[0] - y[0]) > 1e-9)


def test_cross_attention_is_what_its_docstring_says():
    params, (x, memory) = weights(decoder.new_block), inputs()
    y, _ = decoder.cross_attention(params, "b.cross", x, memory, LENGTHS, N)
    p = {name.removeprefix("b.cross."): array for name, array in params.items()}
    for b, length in enumerate(LENGTHS):
        q = x[b] @ p["W_q"] + p["b_q"]
        k, v = np.split(memory[b, :length] @ p["W_kv"] + p["b_kv"], 2, axis=1)
        heads = []
        for columns in (slice(0, 2), slice(2, 4)):
            exp_scores = np.exp(q[:, columns] @ k[:, columns].T / np.sqrt(2))
            heads.append(exp_scores / exp_scores.sum(1, keepdims=True) @ v[:, columns])
        expected = np.concatenate(heads, axis=1) @ p["W_o"] + p["b_o"]
        np.testing.assert_allclose(y[b], expected, rtol=1e-9)


@pytest.mark.parametrize("parts_of_one", [False, True])
def test_gradients_side_by_side(parts_of_one):
    """The same numbers either way, and no copy of what lies side by side already."""
    whole = np.random.default_rng(0).normal(size=(2, 5, 3, 4, 6))  # (B, T, 3, N, D/N)
    parts = [whole[:, :, part].transpose(0, 2, 1, 3) for part in range(3)]
    if not parts_of_one:
        parts = [part.copy() for part in parts]
    joined = transformer._side_by_side(*parts)
    separate = [transformer.join_heads(part) for part in parts]
    np.testing.assert_array_equal(joined, np.concatenate(separate, axis=-1))
    assert np.shares_memory(joined, whole) == parts_of_one
