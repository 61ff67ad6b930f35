"""The attention of a decoder: gradients, padding, and its memory."""

import numpy as np
import pytest
from model_checks import check_layer

from minillm.layers import attention
from minillm.layers.fresh import draw_all

pytestmark = pytest.mark.usefixtures("both_twins")
H, LENGTHS = 3, np.array([5, 2])


def both_steps(params, kind, hs, h_last, query, lengths=LENGTHS):
    """Prepare the memory, then attend to it."""
    layer = attention.KINDS[kind]
    memory, prepare_backward = layer.prepare(params, "a", hs, h_last, lengths, H)
    (context, weights), attend_backward = layer.attend(params, "a", query, memory)

    def backward(dcontext):
        dquery, dmemory, gradients = attend_backward(dcontext)
        dhs, dlast, prepare_gradients = prepare_backward(dmemory)
        return dhs, dlast, dquery, gradients | prepare_gradients

    return (context, weights), backward


def arrays(rng, kind, M, B=2, S=5, T=4):
    params = draw_all(attention.KINDS[kind].new_layer("a", H, M), rng, np.float64)
    hs, h_last = rng.standard_normal((B, S, M)), rng.standard_normal((B, M))
    return params, hs, h_last, rng.standard_normal((B, T, H))


@pytest.mark.parametrize("M", [H, 2 * H])
@pytest.mark.parametrize("kind", attention.KINDS)
@pytest.mark.parametrize("which", ["hs", "h_last", "query"])
def test_gradients(kind, M, which):
    rng = np.random.default_rng(0)
    params, *inputs = arrays(rng, kind, M)
    inputs = dict(zip(("hs", "h_last", "query"), inputs, strict=True))

    def layer(params, x):
        (context, _), backward = both_steps(params, kind, **inputs | {which: x})

        def layer_backward(dcontext):
            dhs, dlast, dquery, gradients = backward(dcontext)
            dx = {"hs": dhs, "h_last": dlast, "query": dquery}[which]
            return np.zeros_like(x) if dx is None else dx, gradients

        return context.copy(), layer_backward  # it may be a view of x, which the check varies

    check_layer(layer, params, inputs[which], rng)


@pytest.mark.parametrize("M", [H, 2 * H])
@pytest.mark.parametrize("kind", attention.KINDS)
def test_padding_and_the_other_queries_change_nothing(kind, M):
    rng = np.random.default_rng(1)
    params, hs, h_last, query = arrays(rng, kind, M)
    (context, weights), _ = both_steps(params, kind, hs, h_last, query)
    assert context.shape == (2, 4, M)
    assert (weights is None) == (kind == "none")
    for b, S in enumerate(LENGTHS):
        row = slice(b, b + 1)
        (alone, alone_weights), _ = both_steps(
            params, kind, hs[row, :S], h_last[row], query[row, 2:3], LENGTHS[row]
        )
        np.testing.assert_allclose(alone[0, 0], context[b, 2], rtol=1e-10, atol=1e-12)
        if weights is not None:
            np.testing.assert_allclose(alone_weights[0, 0], weights[b, 2, :S], rtol=1e-10)
            assert not weights[b, :, S:].any()


def test_the_scores_are_those_that_the_docstring_says():
    rng = np.random.default_rng(2)
    for kind in ("dot", "general", "additive"):
        params, hs, h_last, query = arrays(rng, kind, 2 * H)
        (_, weights), _ = both_steps(params, kind, hs, h_last, query)
        if kind == "dot":
            scores = query @ (hs[..., :H] + hs[..., H:]).transpose(0, 2, 1)
        elif kind == "general":
            scores = query @ params["a.W"] @ hs.transpose(0, 2, 1)
        else:
            keys = hs @ params["a.W_k"] + params["a.b_k"]
            hidden = np.tanh((query @ params["a.W_q"])[:, :, None] + keys[:, None])
            scores = hidden @ params["a.v"]
        scores[1, :, LENGTHS[1] :] = -np.inf
        expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(weights, expected, rtol=1e-10)
