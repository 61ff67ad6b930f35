"""What attention promises beyond its gradient: masks that truly exclude, and the papers' values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.testing import check_gradients, strategies

ATTENTIONS = ("additive", "projected", "dot", "general", "scaled", "causal")


def attend(kind, rng, B=3, T=3, S=4, D=5, E=2, A=4, dtype=np.float64):
    """-> a function of query, keys, values and lengths, and those three arrays."""

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    if kind in ("scaled", "causal"):
        arrays = normal(B, 2, T, D), normal(B, 2, S, D), normal(B, 2, S, E)
        return lambda q, k, v, lengths=None: ops.scaled_dot_product_attention(
            q, k, v, kind == "causal", lengths
        ), arrays
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


@given(rng=strategies.generators(), lengths=strategies.lengths(3, 4))
def test_gradients_of_dot_attention(kernels, rng, lengths):
    op, arrays = attend("dot", rng)
    with use_kernels(kernels):
        check_gradients(op, *arrays, lengths, rng=rng)


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
    padding = np.broadcast_to(
        (np.arange(4) >= lengths[:, None]).reshape(3, *[1] * (keys.ndim - 3), 4, 1), keys.shape
    )
    seed = rng.integers(2**32)
    with use_kernels(kernels):
        one = outputs_and_gradients(op, (query, keys, values), lengths, np.random.default_rng(seed))
        # An infinity shows true exclusion; where a key is projected first, the product
        # with the matrix comes before the mask, so that there it is a large number.
        junk = np.float32(1e30 if kind == "additive" else np.inf)
        keys, values = keys.copy(), values.copy()
        keys[padding] = junk if kind != "additive" else 1e6
        values[padding[..., : values.shape[-1]]] = junk
        other = outputs_and_gradients(
            op, (query, keys, values), lengths, np.random.default_rng(seed)
        )
    for k, (a, b) in enumerate(zip(one, other, strict=True)):
        if kind == "additive" and k == len(one) - 2:
            continue  # dW_k = keys^T d(keys W_k): junk times exact zeros, summed in another order
        np.testing.assert_array_equal(a, b)


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


@pytest.mark.parametrize("kind", ATTENTIONS)
@given(rng=strategies.generators(), lengths=strategies.lengths(3, 4))
def test_a_batch_equals_its_rows(kind, kernels, rng, lengths):
    op, arrays = attend(kind, rng)
    with use_kernels(kernels):
        whole, _ = op(*arrays, lengths)
        for b in range(3):
            n = max(1, lengths[b])  # a row alone needs no padding
            query, keys, values = (x[b : b + 1] for x in arrays)
            if kind != "causal":  # there, S fixes where the queries stand
                keys, values = keys[..., :n, :], values[..., :n, :]
            alone, _ = op(query, keys, values, lengths[b : b + 1])
            if kind in ("scaled", "causal"):
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


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"query": np.ones((2, 3))}, ValueError, "query has shape"),
        ({"keys": np.ones((2, 4, 5))}, ValueError, "keys has shape|W has shape"),
        ({"values": np.ones((2, 4, 2), np.float32)}, TypeError, "use one dtype"),
        ({"lengths": np.array([1, 5])}, ValueError, "lengths must lie in"),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = {
        "query": np.ones((2, 3, 4)),
        "keys": np.ones((2, 4, 4)),
        "values": np.ones((2, 4, 2)),
    } | change
    with pytest.raises(error, match=message):
        ops.multiplicative_attention(**arguments)


def test_against_pytorch(kernels):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    B, N, T, D = 2, 3, 5, 4
    q, k, v, dy = rng.standard_normal((4, B, N, T, D))
    lengths = np.array([5, 3])
    tensors = [torch.tensor(x, requires_grad=True) for x in (q, k, v)]
    allowed = torch.tril(torch.ones(T, T, dtype=torch.bool)) & (
        torch.arange(T) < torch.tensor(lengths)[:, None, None, None]
    )
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=allowed)
    expected.backward(torch.tensor(dy))
    with use_kernels(kernels):
        y, backward = ops.scaled_dot_product_attention(q, k, v, True, lengths)
        gradients = backward(dy)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)
