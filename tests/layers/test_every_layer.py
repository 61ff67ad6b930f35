"""Each layer: its equation, its gradient, and the gradients of a part that is trained."""

import weakref

import numpy as np
import pytest

from minillm import ops
from minillm.layers import dense, embedding, heads
from minillm.layers.block import new_block, post_norm, pre_norm
from minillm.layers.dense import feed_forward, gated_feed_forward
from minillm.layers.fresh import draw_all, glorot, normal, side_by_side
from minillm.layers.gradients import PartlyTrained
from minillm.layers.norms import norm
from minillm.quantised import quantise
from minillm.testing import check_projections

pytestmark = pytest.mark.usefixtures("both_twins")
D, F, N, LENGTHS = 4, 6, 2, np.array([5, 2])


def drawn(seed=0, **shapes):
    """Weights by name, whose dots are two underscores here."""
    rng = np.random.default_rng(seed)
    return {n.replace("__", "."): rng.standard_normal(shape) for n, shape in shapes.items()}


def dense_layer(activation, **shapes):
    def layer(params, x):
        return dense.layer(params, "p", x, activation, suffix="_1")

    def expected(x, W, b=0):
        y = x @ W + b
        return np.tanh(y) if activation else y

    return layer, drawn(p__W_1=(D, 3), **shapes), expected


def normalised(**shapes):
    def expected(x, gain, bias=None):
        centred = x if bias is None else x - x.mean(axis=-1, keepdims=True)
        y = gain * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 0.1)
        return y if bias is None else y + bias

    return lambda params, x: norm(params, "p", x, 0.1), drawn(p__gain=(D,), **shapes), expected


def output_by_table(bias, **shapes):
    def layer(params, x):
        return embedding.output(params, "E", x, bias)

    return layer, drawn(E=(5, D), **shapes), lambda x, E, b=0: x @ E.T + b


def gated():
    def expected(x, W_gate_up, W_down):
        gate, up = np.split(x @ W_gate_up, 2, axis=-1)
        return gate / (1 + np.exp(-gate)) * up @ W_down

    params = drawn(p__W_gate_up=(D, 6), p__W_down=(3, D))
    return lambda params, x: gated_feed_forward(params, "p", x), params, expected


def shared_heads(attend):
    """Four heads of queries and two of keys equal four of each with repeated keys."""

    def twice(array):
        heads_of = np.split(array, 2, axis=-1)
        return np.concatenate([heads_of[0]] * 2 + [heads_of[1]] * 2, axis=-1)

    def expected(x, W_qkv, b_qkv, W_o, b_o):
        parts = [np.split(array, [12, 18], axis=-1) for array in (W_qkv, b_qkv)]
        W, b = (np.concatenate([q, twice(k), twice(v)], axis=-1) for q, k, v in parts)
        repeated = {"a.W_qkv": W, "a.b_qkv": b, "a.W_o": W_o, "a.b_o": b_o}
        return heads.self_attention(repeated, "a", x, 4, attend)[0]

    params = drawn(a__W_qkv=(D, 24), a__b_qkv=(24,), a__W_o=(12, D), a__b_o=(D,))
    return lambda params, x: heads.self_attention(params, "a", x, 4, attend, 2), params, expected


def cross_attention():
    """To a memory that is x itself, whose gradients are added."""

    def layer(params, x):
        y, backward = heads.cross_attention(params, "c", x, x, LENGTHS, N)

        def to_x(dy):
            dx, dmemory, gradients = backward(dy)
            return dx + dmemory, gradients

        return y, to_x

    def expected(x, W_q, b_q, W_kv, b_kv, W_o, b_o):
        y = np.zeros_like(x)
        for b, length in enumerate(LENGTHS):
            q = x[b] @ W_q + b_q
            k, v = np.split(x[b, :length] @ W_kv + b_kv, 2, axis=1)
            parts = []
            for columns in (slice(0, 2), slice(2, 4)):
                exp_scores = np.exp(q[:, columns] @ k[:, columns].T / np.sqrt(2))
                parts.append(exp_scores / exp_scores.sum(1, keepdims=True) @ v[:, columns])
            y[b] = np.concatenate(parts, axis=1) @ W_o + b_o
        return y

    queries = {"c__W_q": (D, D), "c__b_q": (D,)}
    memory = {"c__W_kv": (D, 2 * D), "c__b_kv": (2 * D,)}
    return layer, drawn(**queries, **memory, c__W_o=(D, D), c__b_o=(D,)), expected


def block(order):
    """A block of a Transformer, with dropout."""

    def layer(params, x):
        branches = [
            lambda x: heads.self_attention(params, "b.attention", x, N, heads.to_all(LENGTHS)),
            lambda x: feed_forward(params, "b.feed_forward", x),  # gelu has no kink
        ]
        named = {f"b.norm_{number}": branch for number, branch in enumerate(branches, start=1)}
        return order(params, named, x, dropout=0.3, rng=np.random.default_rng(2), eps=1e-3)

    params = draw_all(new_block("b", D, F, glorot), np.random.default_rng(0), np.float64)
    extra = drawn(**{name.replace(".", "__"): p.shape for name, p in params.items()})
    return layer, {n: p + 0.3 * extra[n] * (p.ndim == 1) for n, p in params.items()}, None


LAYERS = {
    "dense": dense_layer(None),
    "dense, bias": dense_layer(None, p__b_1=(3,)),
    "dense, tanh": dense_layer(ops.tanh, p__b_1=(3,)),
    "layer norm": normalised(p__bias=(D,)),
    "RMS norm": normalised(),
    "output": output_by_table(None),
    "output, bias": output_by_table("b", b=(5,)),
    "gated": gated(),
    "shared heads": shared_heads(heads.to_all()),
    "shared heads, causal": shared_heads(heads.causal),
    "cross-attention": cross_attention(),
    "post-norm block": block(post_norm),
    "pre-norm block": block(pre_norm),
}


@pytest.mark.parametrize(("layer", "params", "expected"), LAYERS.values(), ids=LAYERS)
def test_a_layer(layer, params, expected):
    x = np.random.default_rng(1).standard_normal((2, 5, D))
    y, backward = layer(params, x)
    if expected is not None:
        np.testing.assert_allclose(y, expected(x, *params.values()), rtol=1e-12, atol=1e-12)
    dy, given = np.random.default_rng(3).standard_normal(y.shape), params | {"x": x}

    def loss():
        y, layer_backward = layer(given, given["x"])

        def gradients():
            dx, of_params = layer_backward(dy)
            return of_params | {"x": dx}

        return (y * dy).sum(), gradients

    # Along random directions: the gradient of a bias of keys is zero, as all scores move alike.
    check_projections(loss, given, rng=np.random.default_rng(4))
    dx, whole = backward(dy)
    assert whole.keys() == params.keys()
    for part in [{name} for name in params] + [set()]:
        same, part_backward = layer(PartlyTrained(params, part), x)
        np.testing.assert_array_equal(same, y)
        same_dx, found = part_backward(dy)
        np.testing.assert_array_equal(same_dx, dx)
        assert part <= found.keys()
        assert {name for name in found.keys() - part if params[name].ndim > 1} == set()
        for name, gradient in found.items():
            np.testing.assert_array_equal(gradient, whole[name])


@pytest.mark.parametrize(("layer", "params", "expected"), list(LAYERS.values())[:7])
def test_a_gradient_of_another_shape_is_refused(layer, params, expected):
    """A kernel would read past its end."""
    x = np.random.default_rng(1).standard_normal((3, D))
    for part in (params, PartlyTrained(params, ())):
        y, backward = layer(part, x)
        for shape in ((3, y.shape[-1] + 1), (1, y.shape[-1]), (200, y.shape[-1])):
            with pytest.raises(ValueError, match="dy"):
                backward(np.ones(shape))


def test_the_input_of_a_matrix_that_is_not_trained_is_not_kept():
    x = np.ones((3, 6))
    kept = weakref.ref(x)
    _, backward = dense.layer(PartlyTrained({"p.W": np.ones((6, 4))}, ()), "p", x)
    del x
    assert kept() is None
    np.testing.assert_array_equal(backward(np.ones((3, 4)))[0], np.full((3, 6), 4))


@pytest.mark.parametrize("order", [post_norm, pre_norm])
def test_where_the_norm_stands(order):
    x = np.random.default_rng(1).standard_normal((2, 4, D))
    params = drawn(n__gain=(D,), n__bias=(D,), m__gain=(D,), m__bias=(D,))
    n, m = (lambda x, name=name: norm(params, name, x)[0] for name in "nm")
    y, _ = order(params, {"n": lambda x: (2 * x, None), "m": lambda x: (5 * x, None)}, x)
    if order is post_norm:
        between = n(x + 2 * x)
        expected = m(between + 5 * between)
    else:
        between = x + 2 * n(x)
        expected = between + 5 * m(between)
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_fresh_weights_have_the_variances_that_are_said():
    rng = np.random.default_rng(0)
    params = draw_all(dense.new_layer("x", 100, 400), rng)
    assert params["x.W"].dtype == np.float32
    assert 0.99 * 0.1 < np.abs(params["x.W"]).max() <= 0.1
    assert not params["x.b"].any()
    x = rng.standard_normal((300, 100))
    for variance in (1.0, 2.0):
        y = x @ normal((variance / 100) ** 0.5)((100, 400), rng, np.float64)
        assert y.var() == pytest.approx(variance, rel=0.05)
    several = side_by_side(3, glorot)((100, 3 * 300), rng, np.float64)
    for W in np.split(several, 3, axis=1):
        assert W.var() == pytest.approx(2 / 400, rel=0.05)


# --- tables of vectors ----------------------------------------------------------------------------


def test_the_sum_of_tables_and_its_gradients():
    """A table that is not trained has none."""
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal((n, 3)) for name, n in (("E", 5), ("P", 4), ("S", 2))}
    tables = {name: rng.integers(0, len(E), (2, 4)) for name, E in params.items()}
    x, backward = embedding.layer(params, tables)
    np.testing.assert_array_equal(x, sum(params[name][ids] for name, ids in tables.items()))
    dx = rng.standard_normal(x.shape)
    gradients = backward(dx)
    assert gradients.keys() == params.keys()
    for name, ids in tables.items():
        expected = np.zeros_like(params[name])
        np.add.at(expected, ids, dx)
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-12)
        same, own_backward = embedding.layer(PartlyTrained(params, [name]), tables)
        np.testing.assert_array_equal(same, x)
        own = own_backward(dx)
        assert own.keys() == {name}
        np.testing.assert_array_equal(own[name], gradients[name])


def test_a_quantised_table_is_constant():
    rng = np.random.default_rng(0)
    E = quantise(rng.standard_normal((32, 7)).astype(np.float32), "Q8_0").T
    ids = rng.integers(0, 7, 4)
    x, backward = embedding.layer({"E": E}, {"E": ids})
    np.testing.assert_array_equal(x, E.dense()[ids])
    assert backward(x) == {}
    logits, backward = embedding.output({"E": E}, "E", x.astype(np.float64))  # not rounded
    np.testing.assert_allclose(logits, x @ E.dense().T, rtol=1e-5, atol=1e-5)
    dy, gradients = backward(logits)
    assert gradients == {}
    np.testing.assert_allclose(dy, logits @ E.dense(), rtol=1e-5, atol=1e-5)
