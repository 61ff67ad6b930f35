"""Forward and backward against PyTorch on random cases, where it is installed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.testing import strategies
from minillm.testing.strategies import op_cases

pytest.importorskip("torch")
import torch_reference

STATES = {"rnn": 1, "lstm": 2, "gru": 1}
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def assert_close(ours, theirs):
    ours = ours if isinstance(ours, tuple) else (ours,)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@given(
    sizes=strategies.sizes(B=(1, 4), T=(1, 6), I=(1, 5), H=(1, 5)),
    rng=strategies.generators(),
    data=st.data(),
)
def test_recurrences(name, kernels, sizes, rng, data):
    B, T, I, H = sizes.values()
    lengths = data.draw(strategies.lengths(B, T, shortest=1))
    x = rng.standard_normal((B, T, I))
    state = [rng.standard_normal((B, H)) for _ in range(STATES[name])]
    W_x = rng.standard_normal((I, GATES[name] * H))
    W_h = rng.standard_normal((H, GATES[name] * H))
    biases = [rng.standard_normal(GATES[name] * H) for _ in range(2 if name == "gru" else 1)]
    with use_kernels(kernels):
        outputs, backward = getattr(ops, name)(x, *state, W_x, W_h, *biases, lengths=lengths)
        upstream = [rng.standard_normal(y.shape) for y in outputs]
        gradients = backward(*upstream)
    theirs = torch_reference.recurrent(name, x, state, W_x, W_h, biases, lengths, upstream)
    assert_close(outputs, theirs[0])
    assert_close(gradients, theirs[1])


@pytest.mark.parametrize("name", torch_reference.ELEMENTWISE)
@given(case=op_cases("B D, B D", D=(1, 6)))
def test_elementwise(name, kernels, case):
    x, dy = 3 * case[0], case[1]
    theirs = torch_reference.elementwise(name, x, dy)
    with use_kernels(kernels):
        y, backward = getattr(ops, name)(x)
        assert_close(y, theirs[0])
        assert_close(backward(dy), theirs[1])


@given(case=op_cases("B D, B D", D=(1, 6)))
def test_exact_gelu(kernels, case):
    x, dy = 3 * case[0], case[1]
    theirs = torch_reference.exact_gelu(x, dy)
    with use_kernels(kernels):
        y, backward = ops.gelu(x, approximate=False)
        assert_close(y, theirs[0])
        assert_close(backward(dy), theirs[1])


@given(case=op_cases("B T I, I O, O, B T O", T=(1, 4), I=(1, 5), O=(1, 5)))
def test_linear(kernels, case):
    *args, dy = case
    theirs = torch_reference.linear(*args, dy)
    with use_kernels(kernels):
        y, backward = ops.linear(*args)
        assert_close(y, theirs[0])
        assert_close(backward(dy), theirs[1])


@given(case=op_cases("B T D, D, D, B T D", T=(1, 4), D=(2, 6)))
def test_normalisations(kernels, case):
    x, gain, bias, dy = case
    for op, args in (("layer_norm", (x, gain, bias)), ("rms_norm", (x, gain))):
        theirs = getattr(torch_reference, op)(*args, dy)
        with use_kernels(kernels):
            y, backward = getattr(ops, op)(*args)
            assert_close(y, theirs[0])
            assert_close(backward(dy), theirs[1])


@given(case=op_cases("B N T 2D, B N T 2D, ids: B T < P", N=(1, 2), T=(1, 4), P=1000))
def test_rotary(case):
    (x, dy, positions), base = case, case.rng.uniform(10, 10000)
    theirs = torch_reference.rotary(x, positions, base, dy)
    y, backward = ops.rotary(x, positions, base)
    assert_close(y, theirs[0])
    assert_close(backward(dy), theirs[1])


@given(case=op_cases("ids: B T < V, V D, B T D", T=(1, 4), V=(1, 6)))
def test_embedding(kernels, case):
    ids, E, dy = case
    theirs = torch_reference.embedding(ids, E, dy)
    with use_kernels(kernels):
        y, backward = ops.embedding(ids, E)
        assert_close(y, theirs[0])
        assert_close(backward(dy), theirs[1])


@given(
    sizes=strategies.sizes(B=(1, 3), T=(1, 4), V=(1, 6)),
    smoothing=st.sampled_from([0.0, 0.1]),
    rng=strategies.generators(),
)
def test_cross_entropy(kernels, sizes, smoothing, rng):
    B, T, V = sizes.values()
    targets = rng.integers(0, V, (B, T))
    logits, mask = 3 * rng.standard_normal((B, T, V)), rng.random((B, T)) < 0.6
    mask[0, 0] = True
    theirs = torch_reference.cross_entropy(logits, targets, mask, smoothing)
    with use_kernels(kernels):
        loss, backward = ops.cross_entropy(logits, targets, mask, smoothing)
        assert_close(loss, theirs[0])
        assert_close(backward(), theirs[1])


@given(sizes=strategies.sizes(B=(1, 3), T=(1, 4), S=(1, 6), V=(1, 6)), rng=strategies.generators())
def test_copying(kernels, sizes, rng):
    B, T, S, V = sizes.values()
    source, targets = rng.integers(0, V + 2, (B, S)), rng.integers(0, V + 2, (B, T))
    weights, dm = rng.random((B, T, S)), rng.standard_normal((B, T))
    logits, gates = rng.standard_normal((B, T, V)), rng.standard_normal((B, T))
    copied, lengths = rng.uniform(0.1, 1, (B, T)), rng.integers(1, T + 1, B)
    copying = torch_reference.copied_probability(weights, source, targets, dm)
    loss = torch_reference.pointer_cross_entropy(logits, gates, copied, targets)
    covered = torch_reference.coverage(weights, lengths)
    with use_kernels(kernels):
        m, backward = ops.copied_probability(weights, source, targets)
        assert_close(m, copying[0])
        assert_close(backward(dm), copying[1])
        for theirs, (ours, backward) in (
            (loss, ops.pointer_cross_entropy(logits, gates, copied, targets)),
            (covered, ops.coverage(weights, lengths)),
        ):
            assert_close(ours, theirs[0])
            assert_close(backward(), theirs[1])


@given(
    sizes=strategies.sizes(B=(1, 3), M=(1, 2), G=(1, 3), T=(1, 4), S=(1, 5), D=(1, 4)),
    rng=strategies.generators(),
    data=st.data(),
)
def test_scaled_dot_product_attention(kernels, sizes, rng, data):
    """Grouped heads, causal from each row's own position, with and without a window and sinks."""
    B, M, G, T, S, D = sizes.values()
    q, dy = rng.standard_normal((2, B, M * G, T, D))
    k, v = rng.standard_normal((2, B, M, S, D))
    lengths = data.draw(strategies.lengths(B, S, shortest=1))
    start = rng.integers(0, S, B)
    window, sinks = None, 0
    if data.draw(st.booleans()):
        sinks = data.draw(st.integers(0, 3))
        # No query is without a key.
        lengths[:], window = S, data.draw(st.integers(1 if sinks else T, S + T))
    theirs = torch_reference.scaled_dot_product_attention(
        q, k, v, lengths, start, dy, window, sinks
    )
    with use_kernels(kernels):
        y, backward = ops.scaled_dot_product_attention(
            q, k, v, mask=ops.Mask(True, lengths, start, window, sinks)
        )
        assert_close(y, theirs[0])
        assert_close(backward(dy), theirs[1])
