"""The Transformer: its steps, the weights of its attention, and states of others."""

import numpy as np
import pytest
from model_table import pairs, transformer
from usual import originals_deep

from minillm.decoding.decoder import TargetDecoder, select
from minillm.layers.positions import sinusoids
from minillm.look.measurements import transformer_weights

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]
ORDERS = pytest.mark.parametrize("post_norm", [True, False])


def small(**options):
    return transformer(**{"layers": 2} | options).new()


# --- the parts ----------------------------------------------------------------------------


def test_sinusoids_are_those_of_the_paper():
    P = sinusoids(np.array([0, 3, 70]), 6, np.float64)
    for row, t in enumerate((0, 3, 70)):
        for i in range(3):
            assert P[row, 2 * i] == pytest.approx(np.sin(t / 10000 ** (2 * i / 6)), abs=1e-12)
            assert P[row, 2 * i + 1] == pytest.approx(np.cos(t / 10000 ** (2 * i / 6)), abs=1e-12)


# --- decoding -----------------------------------------------------------------------------


def whole(model, source, lengths, inputs):
    """The logits after each input, without a cache: (B, T, V)."""
    memory, _ = model.encode(source, lengths)
    y, _ = model.decode(inputs, memory, lengths)
    weights = model.output()
    return y @ weights["output.W"] + weights.get("output.b", 0)


@ORDERS
@pytest.mark.parametrize("tied", [True, False])
def test_steps_equal_the_whole_sequence_however_hypotheses_are_selected(post_norm, tied):
    model = small(post_norm=post_norm, tied=tied, layers=3)
    rng = np.random.default_rng(5)
    source, lengths, *_ = pairs(model, rng, B=4)
    decoder = TargetDecoder(model)
    state = decoder.start(source, lengths)
    rows, texts = np.arange(4), np.full((4, 1, 0), 0)
    ids = np.full((4, 1), model.config.bos)
    for t, kept in enumerate([range(4), range(4), [0, 2, 3], [2, 0], [1]]):
        texts = np.concatenate([texts, ids[..., None]], axis=2)  # (B, K, t + 1)
        logits, weights, state = decoder.step(ids, state)
        for k in range(texts.shape[1]):
            expected = whole(model, source[rows], lengths[rows], texts[:, k])
            np.testing.assert_allclose(logits[:, k], expected[:, -1], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)
        for b, length in enumerate(lengths[rows]):
            assert not weights[b, :, length:].any()
        kept = np.array(kept)
        parents = rng.integers(0, texts.shape[1], (len(kept), 1 + t % 3))
        state = select(state, kept, parents)
        rows, texts = rows[kept], texts[kept[:, None], parents]
        ids = rng.integers(0, 5, parents.shape)


def test_a_state_may_be_continued_twice():
    model = small()
    decoder = TargetDecoder(model)
    source, lengths, *_ = pairs(model, np.random.default_rng(6))
    state = decoder.start(source, lengths)
    for id in (5, 1, 2):
        _, _, state = decoder.step(np.full((3, 1), id), state)
    one, other = np.full((3, 1), 3), np.full((3, 1), 4)
    _, _, after_one = decoder.step(one, state)
    expected = decoder.step(other, after_one)[0]
    for _ in range(9):
        _, _, after_other = decoder.step(other, state)
    assert np.abs(decoder.step(one, after_other)[0] - expected).max() > 1e-6
    np.testing.assert_array_equal(decoder.step(other, after_one)[0], expected)


def test_attention_weights_of_a_layer():
    model = small(layers=3)
    source, lengths, target, _ = pairs(model, np.random.default_rng(8))
    decoder, row = TargetDecoder(model), int(lengths.argmax())
    inputs = np.concatenate([[5], target[row, :-1]])
    weights = transformer_weights(model, source[row, : lengths[row]], inputs)["cross"]
    assert weights.shape == (3, 2, 4, lengths[row])
    state = decoder.start(source[row : row + 1, : lengths[row]], lengths[row : row + 1])
    for t in range(4):
        _, mean, state = decoder.step(inputs[None, t : t + 1], state)
        np.testing.assert_allclose(weights[1, :, t].mean(axis=0), mean[0, 0], rtol=1e-12)
    assert np.abs(weights[1] - weights[2]).max() > 1e-3


# --- states of others -----------------------------------------------------------------------


def after(model, steps):
    """The state after some steps of two hypotheses, one for each of two sources."""
    decoder = TargetDecoder(model)
    state = decoder.start(np.array([[1, 2, 3], [4, 0, 0]]), np.array([3, 1]))
    for _ in range(steps):
        _, _, state = decoder.step(np.zeros((2, 1), int), state)
    return state


@pytest.mark.parametrize("entry", ["shared.0.keys", "shared.1.values", "memory.1.keys"])
def test_a_state_mixed_from_two_is_refused(entry):
    """Its keys and values have other lengths, and its rows may be in one only."""
    model, source = small(), np.array([[1], [2]])
    decoder = TargetDecoder(model)
    short, long = decoder.start(source, np.array([1, 1])), after(model, 20)
    with pytest.raises((ValueError, IndexError)):
        decoder.step(np.zeros((2, 1), int), long | {entry: short[entry]})


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        *(({name: n}, {}, "state: ") for name, n in (("heads", 4), ("layers", 3), ("width", 8))),
        ({}, {"past": np.array([[[0, 99]], [[1, 1]]])}, r"past: expected 0\.\.\d+, found 0\.\.99"),
        (
            {},
            {"memory.lengths": np.array([3, 4])},
            r"memory.lengths: expected 0\.\.3, found 3\.\.4",
        ),
        ({}, {"memory.lengths": np.array([3])}, r"memory.lengths: expected shape \(2,\)"),
    ],
)
def test_the_state_of_another_model_or_with_other_numbers_is_refused(options, changes, message):
    state = after(small(**options), 2) | changes
    with pytest.raises(ValueError, match=message):
        TargetDecoder(small()).step(np.zeros((2, 1), int), state)
