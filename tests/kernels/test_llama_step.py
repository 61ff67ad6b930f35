"""A few tokens at a time: the kernel of a Llama's step, its packed weights, and bad input."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantised_cases import beside

from minillm import use_kernels, use_threads
from minillm.decoding import Reader
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised import Quantised, QuantisedLora, quantise
from minillm.quantised.codes import BLOCK
from minillm.training.lora import LoraWeight

SIZES = st.fixed_dictionaries(
    {
        "layers": st.integers(1, 2),
        "key_heads": st.integers(1, 3),
        "shared": st.integers(1, 3),  # heads for each head of keys
        "head_width": st.sampled_from([2, 6, 16, 34]),
        "vocabulary": st.sampled_from([1, 7, 40]),
        "tied": st.booleans(),
    }
)
ROWS = st.sampled_from([1, 2, 3, 7, 11])  # and of each some tokens
TOKENS = st.sampled_from([1, 1, 2, 5])


FAMILY = st.sampled_from([None, None, *FAMILIES])


def new(
    layers, key_heads, shared, head_width, vocabulary, tied, dtype=np.float32, bits=(), family=None
):
    """A Llama or decoder of width 64, whose block i has weights of bits[i]; no gain is one."""
    rng = np.random.default_rng(0)
    sizes = {
        "vocabulary": vocabulary,
        "context": 40,
        "layers": layers,
        "heads": key_heads * shared,
        "key_heads": key_heads,
        "width": 64,
        "feed_forward": 96,
        "head_width": head_width,
        "tied": tied,
    }
    if family is None:
        model = Llama(LlamaConfig(**sizes), rng, dtype=dtype)
    else:
        if FAMILIES[family].windows:
            sizes |= {"window": 4, "sinks": 3 * (family == "mistral")}
        every = {"global_every": 2, "unrotated_every": 2}
        model = Decoder(DecoderConfig(family=family, **sizes, **every), rng, dtype=dtype)
    for name, array in model.params.items():
        size = 0.3 if array.ndim == 1 else len(array) ** -0.5
        model.params[name] = array + (size * rng.standard_normal(array.shape)).astype(dtype)
    for name in [name for name in model.params if bits and model.params[name].ndim == 2]:
        model.params[name] = packed(name, model.params[name], bits)
    return model


def packed(name, W, bits):
    """The matrix as blocks of these bits, or as it is where its inputs are not whole blocks."""
    W, format = W.T if name == "embedding.E" else W, bits[len(name) % len(bits)]
    if len(W) % BLOCK:
        return W
    if "qkv" in name and W.shape[1] > 7:  # parts of several formats
        return beside(quantise(W[:, :5], "Q4_1"), quantise(W[:, 5:], "Q8_0"))
    W = quantise(W, {4: "Q4_1", 5: "Q5_0", 8: "Q8_0"}[format])
    return W.T if name == "embedding.E" else W


def with_additions(model, rank=3, seed=3):
    """The model with thin matrices added to the weights of its blocks."""
    rng = np.random.default_rng(seed)
    for name, W in model.params.items():
        if name.startswith("blocks") and W.ndim == 2:
            A = (W.shape[0] ** -0.5 * rng.standard_normal((W.shape[0], rank))).astype(W.dtype)
            B = rng.standard_normal((rank, W.shape[1])).astype(W.dtype)
            is_array = isinstance(W, np.ndarray)
            added = LoraWeight(W + A @ B, A, B) if is_array else QuantisedLora(W, A, B)
            model.params[name] = added
    return model


def arguments(model, B, S, T=1, seed=2):
    """The arguments of block_step for T tokens of each of B texts, with any past."""
    c, rng = model.config, np.random.default_rng(seed)
    shape = (B, c.key_heads, S + T, c.head_width)
    past = [rng.standard_normal(shape).astype(model.dtype) for _ in range(2 * c.layers)]
    x = rng.standard_normal((B * T, c.width)).astype(model.dtype)
    start = rng.integers(0, S + 1, B)
    positions = start[:, None] + np.arange(T)
    weights = Reader(model).new_weights()
    cos, sin = weights.cos_and_sin(positions.reshape(B * T, 1), model.dtype)
    return weights, x, cos, sin, past, start


def results(step, given_ones):
    """The logits, and the keys and values after the step; the arguments stay as they are."""
    past = [array.copy() for array in given_ones[4]]
    return [step(*given_ones[:4], past, given_ones[5])[0], *past]


PRECISIONS = st.sampled_from([(np.float64, 1e-12), (np.float32, 2e-5)])


@given(SIZES, FAMILY, ROWS, st.integers(0, 20), TOKENS, PRECISIONS)
def test_the_twin_is_the_original(twin, original, sizes, family, B, S, T, precision):
    dtype, tolerance = precision
    given_ones = arguments(new(**sizes, dtype=dtype, family=family), B, S, T)
    pairs = (results(kernels.block_step, given_ones) for kernels in (twin, original))
    for ours, theirs in zip(*pairs, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype == dtype
        np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1, np.abs(theirs).max()))


@given(SIZES, FAMILY, ROWS, st.integers(0, 20), TOKENS, st.sampled_from([(8,), (4, 8), (5,)]))
def test_packed_weights_are_those_of_the_original(twin, original, sizes, family, B, S, T, bits):
    """An activation between two integers may be rounded to either: a step of 1/127 of a block."""
    given_ones = arguments(new(**sizes, bits=bits, family=family), B, S, T)
    pairs = (results(kernels.block_step, given_ones) for kernels in (twin, original))
    for ours, theirs in zip(*pairs, strict=True):
        size = max(1, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, atol=0.05 * size)
        assert np.abs(ours - theirs).mean() <= 2e-3 * size


def test_the_memory_of_a_step_has_room_where_every_piece_is_rounded_up(twin, original):
    """Attention to 1001 positions needs most of it; MINILLM_GUARD=1 shows a write past its end."""
    sizes = {"layers": 1, "key_heads": 1, "shared": 1, "head_width": 2, "vocabulary": 1}
    given_ones = list(arguments(new(**sizes, tied=True, bits=(8,)), 1, 1000))
    given_ones[5] = np.array([1000])
    with use_threads(1):
        ours = results(twin.block_step, given_ones)
    for one, other in zip(ours, results(original.block_step, given_ones), strict=True):
        np.testing.assert_allclose(one, other, atol=0.05 * max(1, np.abs(other).max()))


@pytest.mark.parametrize("bits", [(), (8,), (4, 8)])
@pytest.mark.parametrize("T", [1, 5])
def test_what_is_added_to_weights_is_that_of_the_original(twin, original, bits, T):
    model = new(2, 2, 3, 16, 40, True, bits=bits)
    without = results(original.block_step, arguments(model, 3, 9, T))
    given_ones = arguments(with_additions(model), 3, 9, T)
    pairs = (results(kernels.block_step, given_ones) for kernels in (twin, original))
    for ours, theirs, before in zip(*pairs, without, strict=True):
        size = max(1, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, atol=(0.05 if bits else 2e-5) * size)
        assert np.abs(ours - theirs).mean() <= 2e-3 * size
        assert np.abs(theirs - before).max() > 0.1 * size


@pytest.mark.parametrize("bits", [(), (4, 8)])
def test_additions_that_are_trained_are_used_and_cannot_be_replaced(kernels, bits):
    """The kernels keep the addresses of their arrays."""
    reader, ids = Reader(with_additions(new(1, 1, 2, 16, 7, False, bits=bits))), np.array([[1]])
    weight = reader.model.params["blocks.0.feed_forward.W_down"]
    with use_kernels(kernels):
        _, state = reader.read(ids, reader.zero_state(1))
        before, _ = reader.read(ids, state)
        if bits:
            weight.B[:] *= -9
        else:
            weight.array[:] *= -9
        after, _ = reader.read(ids, state)
        np.testing.assert_array_equal(Reader(reader.model).read(ids, state)[0], after)
    assert np.abs(after - before).max() > 0.1
    for name in ("array", "W", "A", "B"):
        with pytest.raises(FrozenInstanceError):
            setattr(weight, name, np.ones((2, 2), np.float32))


@pytest.mark.parametrize("bits", [(), (4, 8)])
@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("family", [None, "gemma3"])
def test_threads_and_other_texts_change_no_bit(twin, bits, T, family):
    given_ones = arguments(new(2, 3, 3, 16, 4000, True, bits=bits, family=family), 3, 20, T)
    weights, *rows, past, start = given_ones
    with use_threads(1):
        expected = results(twin.block_step, given_ones)
    for threads in (2, 3):
        with use_threads(threads):
            for ours, theirs in zip(results(twin.block_step, given_ones), expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    if bits:  # sums of floats depend on the number of rows
        x, cos, sin = rows
        rows = [x[T : 2 * T], cos[:, T : 2 * T].copy(), sin[:, T : 2 * T].copy()]
        one = weights, *rows, [array[1:2] for array in past], start[1:2]
        logits, *past = results(twin.block_step, one)
        np.testing.assert_array_equal(logits, expected[0][T : 2 * T])
        for ours, theirs in zip(past, expected[1:], strict=True):
            np.testing.assert_array_equal(ours, theirs[1:2])


@pytest.mark.parametrize("bits", [(), (4, 8)])
def test_steps_continue_a_prompt(kernels, bits):
    """A step gives what reading the whole text gives, apart from the rounding of activations."""
    reader, rng = Reader(new(2, 2, 2, 16, 40, True, bits=bits)), np.random.default_rng(1)
    ids, lengths = rng.integers(0, 40, (3, 12)), np.array([3, 9, 1])
    with use_kernels(kernels):
        _, state = reader.read(ids[:, :9], reader.zero_state(3), lengths)
        all_logits, _ = reader.read_all(ids[:, 9:], state)
        for t in range(9, 12):
            logits, state = reader.read(ids[:, t : t + 1], state)
            tolerance = 0 if bits else 1e-5
            np.testing.assert_allclose(all_logits[:, t - 9], logits, rtol=tolerance, atol=tolerance)
        for row, length in enumerate(lengths):
            whole = np.concatenate([ids[row, :length], ids[row, 9:]])[None]
            expected, _ = reader.read(whole, reader.zero_state(1))
            tolerance = (0.05 if bits else 2e-5) * np.abs(expected).max()
            np.testing.assert_allclose(logits[row], expected[0], atol=tolerance)


@pytest.mark.parametrize("bits", [(), (4, 8)])
def test_a_replaced_weight_is_used_and_a_reader_can_be_copied(kernels, bits):
    model = new(1, 1, 2, 16, 7, False, bits=bits)
    reader, ids = Reader(model), np.array([[1]])
    with use_kernels(kernels):
        _, state = reader.read(ids, reader.zero_state(1))
        before, _ = reader.read(ids, state)
        for same in (copy.deepcopy(reader), pickle.loads(pickle.dumps(reader))):
            np.testing.assert_array_equal(same.read(ids, state)[0], before)
        model.params["norm.gain"] = 2 * model.params["norm.gain"]
        np.testing.assert_allclose(reader.read(ids, state)[0], 2 * before, rtol=1e-5, atol=1e-6)
        name = "feed_forward.W_down"
        model.params[f"blocks.0.{name}"] = 0 * model.params["blocks.0.norm_1.gain"] + np.zeros(
            (96, 64), np.float32
        )
        assert np.abs(reader.read(ids, state)[0] - 2 * before).max() > 1e-3


def test_no_window_is_too_wide(kernels):
    """Nor are too many sinks: their sum is beyond any integer of the kernel."""
    most = 2**63 - 1
    config = DecoderConfig(7, 9, 1, 2, width=4, family="mistral", window=most, sinks=most)
    model, ids = Decoder(config, np.random.default_rng(0)), np.arange(6)[None]
    with use_kernels(kernels):
        reader = Reader(model)
        _, state = reader.read(ids[:, :4], reader.zero_state(1))
        for n in (4, 5):
            logits, state = reader.read(ids[:, [n]], state)
        np.testing.assert_allclose(logits, model.forward(ids)[0][:, -1], rtol=1e-5, atol=1e-6)


def changed(place, change):
    """The arguments with one of them changed."""

    def spoil(given_ones):
        given_ones = list(given_ones)
        given_ones[place] = change(given_ones[place])
        return given_ones

    return spoil


def weight(place, change):
    def spoil(weights):
        arrays = list(weights.arrays)
        arrays[place] = change(arrays[place])
        weights.arrays = tuple(arrays)
        return weights

    return changed(0, spoil)


def fewer(weights):
    weights.arrays = weights.arrays[:-1]
    return weights


def with_own(weights, **arrays):
    for name, values in arrays.items():
        setattr(weights, name, np.array(values, np.int64))
    return weights


def none(weights):
    weights.arrays = weights.arrays[:4]
    return weights


SPOILT = {
    "x of another dtype": changed(1, lambda x: x.astype(np.float64)),
    "x too wide": changed(1, lambda x: np.tile(x, 2)),
    "x with strides": changed(1, np.asfortranarray),
    "x of more rows": changed(1, lambda x: np.tile(x, (2, 1))),
    "no rows": changed(1, lambda x: x[:0]),
    "fewer angles": changed(2, lambda cos: cos[:, :1].copy()),
    "angles too wide": changed(3, lambda sin: np.tile(sin, 2)),
    "no angles": changed(2, lambda cos: cos[:0]),
    "windows of fewer layers": changed(0, lambda weights: with_own(weights, windows=[])),
    "a window below 0": changed(0, lambda weights: with_own(weights, windows=[-1])),
    "sinks of fewer layers": changed(0, lambda weights: with_own(weights, sinks=[])),
    "sinks below 0": changed(0, lambda weights: with_own(weights, sinks=[-1])),
    "angles that are not there": changed(0, lambda weights: with_own(weights, tables=[1])),
    "angles below -1": changed(0, lambda weights: with_own(weights, tables=[-2])),
    "a layer less": changed(4, lambda past: past[:-2]),
    "keys of other rows": changed(4, lambda past: [past[0][:1], *past[1:]]),
    "keys of another dtype": changed(4, lambda past: [past[0].astype(float), *past[1:]]),
    "keys of odd heads": changed(4, lambda past: [np.repeat(k, 2, 1)[:, :3] for k in past]),
    "keys of a larger width": changed(4, lambda past: [np.tile(k, 2) for k in past]),
    "keys with less room": changed(4, lambda past: [k[:, :, :1].copy() for k in past]),
    "keys to be read only": changed(
        4, lambda past: [np.broadcast_to(past[0][:1], past[0].shape), *past[1:]]
    ),
    "no heads": changed(4, lambda past: [k[:, :0] for k in past]),
    "start of int32": changed(5, lambda start: start.astype(np.int32)),
    "start beyond the room": changed(5, lambda start: start + 9),
    "start below 0": changed(5, lambda start: start - 9),
    "no start": changed(5, lambda start: start[:0]),
    "start of fewer texts": changed(5, lambda start: start[:1]),
    "a weight less": changed(0, fewer),
    "no blocks": changed(0, none),
    "no E": weight(2, lambda E: None),
    "E not transposed": weight(2, lambda E: E.T if isinstance(E, Quantised) else E.T.copy()),
    "a gain too long": weight(0, lambda gain: np.ones(65, np.float32)),
    "a gain of two axes": weight(4, lambda gain: gain[None]),
    "a packed gain": weight(4 + 15, lambda gain: quantise(np.ones((64, 64), np.float32), "Q8_0")),
    "no W_qkv": weight(4 + 2, lambda W: None),
    "W_qkv too narrow": weight(4 + 2, lambda W: np.ones((64, 8), np.float32)),
    "W_o transposed": weight(4 + 4, lambda W: W.T),
    "W_gate_up of one half": weight(4 + 17, lambda W: np.ones((64, 96), np.float32)),
    "W_down with strides": weight(
        4 + 19, lambda W: np.asfortranarray(np.ones((96, 64), np.float32))
    ),
    "W_down of another dtype": weight(4 + 19, lambda W: np.ones((96, 64))),
    "a list for a weight": weight(4 + 19, lambda W: [1.0]),
    "a bias too short": weight(4 + 3, lambda b: np.ones(95, np.float32)),
    "a bias of two axes": weight(4 + 3, lambda b: np.ones((1, 96), np.float32)),
    "one norm of heads": weight(4 + 6, lambda gain: np.ones(16, np.float32)),
    "a norm of one result": weight(4 + 8, lambda gain: np.ones(64, np.float32)),
}


def additions(change):
    """The same of what is added to the first weight that has additions."""

    def spoil(W):
        return QuantisedLora(W.W, *change(W.A, W.B))

    return weight(4 + 4, spoil)


SPOILT_ADDITIONS = {
    "A of more inputs": additions(lambda A, B: (np.tile(A, (2, 1)), B)),
    "A of a larger rank": additions(lambda A, B: (np.tile(A, 2), B)),
    "A of another dtype": additions(lambda A, B: (A.astype(float), B)),
    "A with strides": additions(lambda A, B: (np.asfortranarray(A), B)),
    "A of one axis": additions(lambda A, B: (A[0], B)),
    "no A": additions(lambda A, B: (None, B)),
    "B of fewer outputs": additions(lambda A, B: (A, B[:, :-1].copy())),
    "B of another dtype": additions(lambda A, B: (A, B.astype(float))),
    "B with strides": additions(lambda A, B: (A, np.asfortranarray(B))),
    "no rank": additions(lambda A, B: (A[:, :0].copy(), B[:0])),
}


@pytest.mark.parametrize("what", SPOILT_ADDITIONS)
def test_wrong_additions_raise(twin, what):
    model = with_additions(new(1, 2, 2, 16, 7, True, bits=(4, 8)))
    twin.block_step(*arguments(model, 2, 8, 2))
    with pytest.raises((ValueError, TypeError, AttributeError)):
        twin.block_step(*SPOILT_ADDITIONS[what](arguments(model, 2, 8, 2)))


@pytest.mark.parametrize("bits", [(), (4, 8)])
@pytest.mark.parametrize("what", SPOILT)
def test_wrong_arguments_of_the_kernel_raise(twin, what, bits):
    model = new(1, 2, 2, 16, 7, True, bits=bits)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        twin.block_step(*SPOILT[what](arguments(model, 2, 8, 2)))


def test_packed_weights_are_of_float32(twin):
    model = new(1, 2, 2, 16, 7, True, bits=(4,))
    weights, *others = arguments(model, 2, 8)
    others = [x.astype(float) if x.dtype == np.float32 else x for x in others[:3]]
    with pytest.raises(ValueError):  # noqa: PT011
        twin.block_step(weights, *others, [], np.array([1, 1]))
