"""One token at a time, or a few: the kernels of a whole step, the weights that they know, and bad
input.  block_step is one kernel for a GPT, a translator, a Llama and the families after it, whose
weights may be packed; stacked_step is the one of recurrent layers."""

import copy
import functools
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from quantised_cases import beside

from minillm import kernels_info, use_kernels, use_threads
from minillm.decoding import Reader, TargetDecoder
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.quantised import Quantised, QuantisedLora, quantise
from minillm.quantised.codes import BLOCK
from minillm.training.lora import LoraWeight

from .twin_cases import WRONG, Draw, stack, wrong_versions

# --- models and arguments -------------------------------------------------------------------


def moved(model):
    """No bias is zero, no gain one; a weight of N inputs moves by 1 / sqrt(N) at most.

    Scores of some hundreds would make a softmax of one element, whose ties magnify any rounding.
    """
    rng = np.random.default_rng(1)
    for array in model.params.values():
        size = 0.3 if array.ndim == 1 else min(0.3, len(array) ** -0.5)
        array += (size * rng.standard_normal(array.shape)).astype(model.dtype)
    return model


def gpt(dtype=np.float64, **sizes):
    sizes = {"vocabulary": 7, "context": 12, "layers": 2, "heads": 2, "width": 8} | sizes
    return moved(GPT(GPTConfig(**sizes), np.random.default_rng(0), dtype=dtype))


def translator(dtype=np.float64, **options):
    sizes = {"layers": 2, "heads": 2, "width": 8, "feed_forward": 12} | options
    config = TransformerConfig(6, 7, **sizes)
    return moved(Transformer(config, np.random.default_rng(0), dtype=dtype))


def llama(dtype=np.float32, bits=(), family=None, shared=2, **sizes):
    """A Llama or decoder of width 64, whose matrices have weights of these bits, if any."""
    sizes = {"layers": 1, "key_heads": 2, "head_width": 16, "vocabulary": 7, "tied": True} | sizes
    sizes |= {"heads": sizes["key_heads"] * shared, "width": 64, "feed_forward": 96, "context": 40}
    rng = np.random.default_rng(0)
    if family is None:
        model = moved(Llama(LlamaConfig(**sizes), rng, dtype=dtype))
    else:
        if FAMILIES[family].windows:
            sizes |= {"window": 4, "sinks": 3 * (family == "mistral")}
        if FAMILIES[family].global_every:
            sizes |= {"layers": 2, "local_base": 50.0, "global_every": 2}  # angles of two kinds
        if FAMILIES[family].unrotated_every:
            sizes |= {"unrotated_every": 2}
        config = DecoderConfig(family=family, **sizes)
        model = moved(Decoder(config, rng, dtype=dtype))
    for name, W in model.params.items():
        if bits and W.ndim == 2:
            model.params[name] = packed(name, W, bits)
    return model


def packed(name, W, bits):
    """The matrix as blocks of these bits, or as it is where its inputs are not whole blocks."""
    W, format = W.T if name == "embedding.E" else W, bits[len(name) % len(bits)]
    if len(W) % BLOCK:
        return W
    if "qkv" in name and W.shape[1] > 7:  # parts of several formats
        at = W.shape[1] // 2 + 1
        return beside(quantise(W[:, :at], "Q4_1"), quantise(W[:, at:], "Q8_0"))
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


def arguments(model, B, S, T=1, first=0):
    """The arguments of block_step for T tokens of each of B texts, with any past from a first."""
    c, draw = model.config, Draw(model.dtype, 2)
    shape = B, getattr(c, "key_heads", c.heads), S + T, getattr(c, "head_width", c.width // c.heads)
    past = [draw(*shape) for _ in range(2 * c.layers)]
    x, start = draw(B * T, c.width), draw.rng.integers(first, S + 1, B)
    positions = start[:, None] + np.arange(T)
    weights = Reader(model).new_weights()
    angles = weights.cos_and_sin(positions.reshape(B * T, 1), model.dtype)
    return [weights, x, *angles, past, start, None, [], None, -1]


def arguments_with_source(model, B, K, T, S):
    """The same for B sources with K hypotheses each, of T tokens in a pool of more rows."""
    c, draw = model.config, Draw(model.dtype, 2)
    Q, width, rng = B * K, c.width // c.heads, draw.rng

    def kept(rows, *shape):  # the keys and values of a token side by side
        pairs = range(2 * c.layers)
        return [draw(*shape, rows, c.heads, width).swapaxes(1, 2) for _ in pairs]

    pool, memory = kept(Q * T + 3, 1), kept(S, B)
    new, read = np.split(rng.permutation(Q * T + 3), [Q])
    rows = rng.choice(read, (Q, T))
    rows[:, -1] = new  # each has its own new one, which no other has read
    x, lengths = draw(Q, c.width), rng.integers(0, S + 1, B)
    weights, angles = TargetDecoder(model).new_weights(), (np.zeros((0, 0, 0), model.dtype),) * 2
    return [weights, x, *angles, pool, np.full(Q, T - 1), rows, memory, lengths, c.layers - 1]


WEIGHTS, X, COS, SIN, PAST, START, ROWS, MEMORY, LENGTHS, _ = range(10)  # of the arguments


def results(step, given_ones):
    """The logits, the attention to a source, if any, and the keys and values after the step."""
    past = [array.copy() for array in given_ones[PAST]]
    logits, seen = step(*given_ones[:PAST], past, *given_ones[START:])
    return [logits, *([] if seen is None else [seen]), *past]


def assert_near(twin, original, given_ones, tolerance):
    pairs = (results(kernels.block_step, given_ones) for kernels in (twin, original))
    for ours, theirs in zip(*pairs, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype == given_ones[X].dtype
        bound = tolerance * max(1, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


# --- numbers --------------------------------------------------------------------------------

PRECISIONS = st.sampled_from([(np.float64, 1e-12), (np.float32, 1e-5)])
LAYERS, HEADS, S, V = st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 70)
B = st.integers(1, 11)
# Of few numbers that are nearly equal, a norm magnifies the rounding.
WIDTHS = st.one_of(
    st.tuples(HEADS, st.sampled_from([7, 16, 29, 32])), st.just((8, 1)), st.just((11, 1))
).map(lambda s: {"heads": s[0], "width": s[0] * s[1]})
OF_LLAMA = st.fixed_dictionaries(
    {
        "layers": st.integers(1, 2),
        "key_heads": HEADS,
        "shared": HEADS,  # heads for each head of keys
        "head_width": st.sampled_from([2, 6, 16, 34]),
        "vocabulary": st.sampled_from([1, 7, 40]),
        "tied": st.booleans(),
        "family": st.sampled_from([None, None, *FAMILIES]),
    }
)
NARROW = {"key_heads": 1, "shared": 1, "head_width": 2}  # than the model, by far
TOKENS = st.sampled_from([1, 1, 2, 5])


@given(LAYERS, WIDTHS, V, B, S, TOKENS, PRECISIONS)
def test_a_gpt(twin, original, layers, width, vocabulary, B, S, T, precision):
    model = gpt(precision[0], context=50, layers=layers, vocabulary=vocabulary, **width)
    assert_near(twin, original, arguments(model, B, S, T), precision[1])


@given(LAYERS, WIDTHS, V, B, S, *(st.integers(1, 9), st.integers(1, 4)), st.data(), PRECISIONS)
def test_a_translator(twin, original, layers, width, F, B, S, T, K, data, precision):
    options = {name: data.draw(st.booleans()) for name in ("post_norm", "tied")}
    width |= {"width": 2 * width["width"]}
    model = translator(precision[0], layers=layers, feed_forward=F, **width, **options)
    assert_near(twin, original, arguments_with_source(model, B, K, T, S), precision[1])


@given(OF_LLAMA, B, st.integers(0, 20), TOKENS, PRECISIONS)
@example({"family": "gemma3"}, 2, 5, 2, (np.float64, 1e-12))
@example({"family": "gemma3", **NARROW}, 1, 5, 1, (np.float64, 1e-12))
def test_a_llama(twin, original, sizes, B, S, T, precision):
    given_ones = arguments(llama(precision[0], **sizes), B, S, T)
    assert_near(twin, original, given_ones, max(precision[1], 1e-12))


@given(OF_LLAMA, B, st.integers(0, 20), TOKENS, st.sampled_from([(8,), (4, 8), (5,)]))
def test_packed_weights(twin, original, sizes, B, S, T, bits):
    assert_packed(twin, original, arguments(llama(**sizes, bits=bits), B, S, T))


def assert_packed(twin, original, given_ones):
    """An activation between two integers may be rounded to either: a step of 1/127 of a block."""
    pairs = (results(kernels.block_step, given_ones) for kernels in (twin, original))
    for ours, theirs in zip(*pairs, strict=True):
        size = max(1, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.05 * size)
        assert np.abs(ours - theirs).mean() <= 2e-3 * size


@pytest.mark.parametrize("bits", [(), (8,), (4, 8)])
@pytest.mark.parametrize("T", [1, 5])
def test_what_is_added_to_weights(twin, original, bits, T):
    model = llama(bits=bits, layers=2, shared=3, vocabulary=40)
    without = results(original.block_step, arguments(model, 3, 9, T))
    given_ones = arguments(with_additions(model), 3, 9, T)
    if bits:
        assert_packed(twin, original, given_ones)
    else:
        assert_near(twin, original, given_ones, 2e-5)
    for after, before in zip(results(original.block_step, given_ones), without, strict=True):
        assert np.abs(after - before).max() > 0.1 * max(1, np.abs(after).max())


def test_the_memory_of_a_step_has_room_where_every_piece_is_rounded_up(twin, original):
    """Attention to 1001 positions needs most of it; MINILLM_GUARD=1 shows a write past its end."""
    model = llama(**NARROW, vocabulary=1, bits=(8,))
    with use_threads(1):
        assert_packed(twin, original, arguments(model, 1, 1000, first=1000))


def of_gpt(B):
    model = gpt(np.float32, vocabulary=999, context=40, heads=3, width=192)
    return arguments(model, B, 40)


def of_translator(B, K, post_norm):
    sizes = {"heads": 3, "width": 192, "feed_forward": 512, "post_norm": post_norm}
    return arguments_with_source(translator(np.float32, **sizes), B, K, 7, 12)


def of_llama(bits, T, family=None):
    sizes = {"layers": 2, "key_heads": 3, "shared": 3, "vocabulary": 1000}
    return arguments(llama(bits=bits, family=family, **sizes), 3, 20, T)


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        *((of_gpt, (B,)) for B in (1, 9, 40)),  # 40 rows are two groups on one thread
        *((of_translator, sizes) for sizes in ((2, 2, True), (7, 5, False), (33, 4, False))),
        *((of_llama, (bits, T)) for bits in ((), (4, 8)) for T in (1, 3)),
        *((of_llama, (bits, T, "gemma3")) for bits, T in (((), 3), ((4, 8), 1))),
        (of_llama, ((4, 8), 1, "qwen2")),  # whose packed W_qkv of several formats has a bias
    ],
)
def test_the_bits_do_not_depend_on_the_threads(twin, same_bits, make, sizes):
    given_ones = make(*sizes)
    same_bits(results, twin.block_step, given_ones, counts=(2, 5))


@pytest.mark.parametrize("T", [1, 3])
def test_packed_weights_make_a_text_the_bits_that_it_has_alone(twin, T):
    """Sums of floats depend on the number of rows."""
    weights, x, cos, sin, past, start, *others = of_llama((4, 8), T)
    logits, *kept = results(twin.block_step, [weights, x, cos, sin, past, start, *others])
    rows = [x[T : 2 * T], cos[:, T : 2 * T].copy(), sin[:, T : 2 * T].copy()]
    one = [weights, *rows, [array[1:2] for array in past], start[1:2], *others]
    alone, *kept_alone = results(twin.block_step, one)
    np.testing.assert_array_equal(alone, logits[T : 2 * T])
    for ours, theirs in zip(kept_alone, kept, strict=True):
        np.testing.assert_array_equal(ours, theirs[1:2])


@pytest.mark.parametrize("of_twin", [True, False])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_is_nobodys_has_no_influence(twin, original, of_twin, poison):
    """Positions behind a row's last, rows of the pool that nobody looks at, and padding."""
    step = (twin if of_twin else original).block_step
    given_ones = arguments(gpt(), 3, 9)
    expected = step(*given_ones)[0]
    for q, before in enumerate(given_ones[START]):
        for array in given_ones[PAST]:
            array[q, :, before + 1 :] = poison
    np.testing.assert_array_equal(step(*given_ones)[0], expected)

    given_ones = arguments_with_source(translator(), 4, 2, 3, 9)
    expected, pool = step(*given_ones), given_ones[PAST]
    unseen = np.setdiff1d(np.arange(pool[0].shape[2]), given_ones[ROWS])
    assert len(unseen)
    for array in pool:
        array[0, :, unseen] = poison
    for array in given_ones[MEMORY]:
        for b, length in enumerate(given_ones[LENGTHS]):
            array[b, :, length:] = poison
    for ours, before in zip(step(*given_ones), expected, strict=True):
        np.testing.assert_array_equal(ours, before)


def test_a_nan_reaches_its_own_row_alone(twin, original):
    with_source = arguments_with_source(translator(post_norm=True), 4, 2, 3, 9)
    stacked = stack(Draw(np.float64), "gru", 2, 8, 6, 20, 7, False)
    for name, given_ones in (
        ("block_step", arguments(gpt(), 8, 9)),
        ("block_step", with_source),
        ("stacked_step", stacked),
    ):
        given_ones[X][5, 1] = np.nan
        for kernels in (twin, original):
            with np.errstate(invalid="ignore"):
                logits, _ = getattr(kernels, name)(*given_ones)
            assert np.isnan(logits[5]).all()
            assert np.isfinite(np.delete(logits, 5, axis=0)).all()


# --- readers --------------------------------------------------------------------------------

TEXT = np.random.default_rng(0).integers(0, 7, (2, 4))


def stepped(reader):
    """The logits of a text that is read step by step; of a translation's first step."""
    if hasattr(reader, "start"):
        return reader.step(np.array([[3]]), reader.start(np.array([[1, 2]]), np.array([2])))[0]
    logits, state = reader.read(TEXT[:, :3], reader.zero_state(len(TEXT)))
    for t in range(3, TEXT.shape[1]):
        logits, state = reader.read(TEXT[:, t : t + 1], state)
    return logits


def in_fortran_order(model):
    name = "blocks.1.feed_forward.W_1"
    model.params[name] = np.asfortranarray(model.params[name])
    return model


READERS = {
    "GPT": lambda: Reader(gpt()),
    "GPT in Fortran's order": lambda: Reader(in_fortran_order(gpt())),
    "translator": lambda: TargetDecoder(translator()),
    "Llama": lambda: Reader(llama(layers=2)),
    "packed": lambda: Reader(llama(layers=2, bits=(4, 8))),
    "added": lambda: Reader(with_additions(llama(layers=2))),
    "added to packed": lambda: Reader(with_additions(llama(layers=2, bits=(4, 8)))),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_sees_weights_that_change_and_can_be_copied(kind):
    """The kernels keep the addresses of the weights, each set of kernels its own."""
    reader = READERS[kind]()
    params, gain = reader.model.params, np.array(1.5, reader.model.dtype)
    first, last = "blocks.0.norm_1.gain", "blocks.1.norm_2.gain"
    if kind == "translator":
        first, last = "decoder.0.norm_1.gain", "decoder.1.norm_3.gain"
    W = next(reversed([name for name in params if "feed_forward.W" in name]))
    fresh = TargetDecoder if kind == "translator" else Reader
    before = stepped(reader)

    def require(reader, moves):
        nonlocal before
        found = stepped(reader)
        np.testing.assert_array_equal(found, stepped(fresh(reader.model)))
        if isinstance(reader.model, GPT):
            np.testing.assert_allclose(found, reader.model.forward(TEXT)[0][:, -1], atol=1e-12)
        assert (np.abs(found - before).max() > 1e-3) == moves
        before = found

    for name in kernels_info()["available"]:
        with use_kernels(name):
            before = stepped(reader)
            for copied in (copy.deepcopy(reader), pickle.loads(pickle.dumps(reader))):
                require(copied, moves=False)
                copied.model.params[first] *= 2 * gain
                require(copied, moves=True)
                require(reader, moves=True)  # as before: the copy has weights of its own
            params[first] *= gain  # in place
            require(reader, moves=True)
            params[last] = params[last] * gain  # another array
            require(reader, moves=True)
            if isinstance(params[W], (LoraWeight, QuantisedLora)):
                of_block = params[W]
                (of_block.B if "packed" in kind else of_block.array)[:] *= -1
                require(reader, moves=True)
                for part in ("array", "W", "A", "B"):
                    with pytest.raises(FrozenInstanceError):
                        setattr(of_block, part, np.ones((2, 2), np.float32))
    params[W] = np.ones(params[W].shape, reader.model.dtype)  # no longer packed
    require(reader, moves=True)


def test_steps_with_packed_weights_continue_a_prompt(kernels):
    """A step gives what reading the whole text gives, apart from the rounding of activations."""
    reader = Reader(llama(layers=2, vocabulary=40, bits=(4, 8)))
    ids, lengths = np.random.default_rng(1).integers(0, 40, (3, 12)), np.array([3, 9, 1])
    with use_kernels(kernels):
        _, state = reader.read(ids[:, :9], reader.zero_state(3), lengths)
        all_logits, _ = reader.read_all(ids[:, 9:], state)
        for t in range(9, 12):
            logits, state = reader.read(ids[:, t : t + 1], state)
            np.testing.assert_array_equal(all_logits[:, t - 9], logits)
        for row, length in enumerate(lengths):
            whole = np.concatenate([ids[row, :length], ids[row, 9:]])[None]
            expected, _ = reader.read(whole, reader.zero_state(1))
            np.testing.assert_allclose(logits[row], expected[0], atol=0.05 * np.abs(expected).max())


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


# --- bad input ------------------------------------------------------------------------------


OUTPUT, OF_MODEL, OF_BLOCK = 2, 4, 22  # places of weights, as in step.pyx
W_QKV, NORM_Q, NORM_OF_ATTENTION, W_OF_CROSS, W_1 = (OF_MODEL + n for n in (2, 6, 8, 13, 17))


def of_weights(**changes):
    """A change of the arrays of a step's weights, or of something else of them."""

    def changed(weights):
        other = copy.copy(weights)
        other.addresses = None
        for name, change in changes.items():
            setattr(other, name, change(getattr(other, name)))
        return other

    return WEIGHTS, changed


def at(place, change):
    return lambda arrays: [*arrays[:place], change(arrays[place]), *arrays[place + 1 :]]


def with_weight(place, array):
    return of_weights(arrays=at(place, lambda _: array))


def each(change):
    return lambda arrays: [change(array) for array in arrays]


def transposed(W):
    return W.T if isinstance(W, Quantised) else W.T.copy()


def ones(*shape):
    return np.ones(shape, np.float32)


SPOILT = {  # what no wrong version of a single array is, for a GPT and a Llama of width 64
    "a window below 0": of_weights(windows=lambda windows: windows - 9),
    "sinks of fewer layers": of_weights(sinks=lambda sinks: sinks[:0]),
    "angles that are not there": of_weights(tables=lambda tables: tables + 9),
    "a layer less": (PAST, lambda past: past[:-2]),
    "keys of odd heads": (PAST, each(lambda k: np.repeat(k, 2, 1)[:, :3])),
    "keys of a larger width": (PAST, each(lambda k: np.tile(k, 2))),
    "keys with less room": (PAST, each(lambda k: k[:, :, :1].copy())),
    "keys to be read only": (PAST, each(lambda k: np.broadcast_to(k[:1], k.shape))),
    "no heads": (PAST, each(lambda k: k[:, :0])),
    "start beyond the room": (START, lambda start: start + 9),
    "start below 0": (START, lambda start: start - 9),
    "a weight less": of_weights(arrays=lambda a: a[:-1]),
    "no blocks": of_weights(arrays=lambda a: a[:OF_MODEL]),
    "a bias without a gain": of_weights(arrays=lambda a: [None, ones(64), *a[2:]]),
    "no E": with_weight(OUTPUT, None),
    "E not transposed": of_weights(arrays=at(OUTPUT, transposed)),
    "E and b": with_weight(OUTPUT + 1, ones(7)),
    "a packed gain": with_weight(0, quantise(ones(64, 64), "Q8_0")),
    "no W_qkv": with_weight(W_QKV, None),
    "W_1 of one half": with_weight(W_1, ones(64, 48)),
    "one norm of heads": with_weight(NORM_Q, ones(16)),
    "a norm of one result": with_weight(NORM_OF_ATTENTION, ones(64)),
    "part of a cross-attention": with_weight(W_OF_CROSS, ones(64, 64)),
}
SPOILT_SOURCE = {
    "no memory": (MEMORY, lambda memory: []),
    "memory of other rows": (MEMORY, each(lambda k: np.repeat(k, 2, 0)[:3])),
    "memory of other heads": (MEMORY, each(lambda k: k[:, :1])),
    "no lengths": (LENGTHS, lambda n: None),
    "lengths beyond the source": (LENGTHS, lambda n: n + 9),
    "negative lengths": (LENGTHS, lambda n: n - 9),
    "no rows of the pool": (ROWS, lambda r: None),
    "a negative row": (ROWS, lambda r: r - 99),
    "a row beyond the pool": (ROWS, lambda r: r + 99),
    "a cross-attention too few": with_weight(OF_BLOCK + OF_MODEL + 11, None),
    "only part of a cross-attention": with_weight(W_OF_CROSS, None),
}
SPOILT_STACK = {  # of ids
    "an id too large": (X, lambda x: x + 9),
    "a negative id": (X, lambda x: x - 9),
    "fewer ids": (X, lambda x: x[:1]),
    "x of another width": (X, lambda x: np.ones((2, 3))),
    "a state less": (2, lambda states: states[:-1]),
    "a weight less": (3, lambda weights: weights[:-1]),
    "no weights": (3, lambda weights: []),
    "no b": (4, lambda output: output[:1]),
}


def spoilt_steps():
    """The kernel, its right arguments made anew, what spoils them; and the shapes of arrays that
    are wrong versions of right ones and right themselves: of more tokens, rows or room."""
    models = {
        "GPT": (
            gpt(np.float32, context=40, layers=1, width=64),
            SPOILT,
            [(6, 64), (14, 64), (8, 64)],
        ),
        "Llama": (llama(), SPOILT, [(6, 64), (14, 64)]),
        "packed": (llama(bits=(4, 8)), SPOILT, []),
        "added": (with_additions(llama(bits=(4, 8))), {}, []),
    }
    for name, (model, spoilt, right) in models.items():
        yield name, "block_step", lambda model=model: arguments(model, 2, 8, 2), spoilt, right
    model, right = translator(), [(7, 8), (16, 8), (4, 6)]
    good = functools.partial(arguments_with_source, model, 2, 2, 3, 5)
    yield "source", "block_step", good, SPOILT_SOURCE, right
    for ids, spoilt, right in ((True, SPOILT_STACK, None), (False, {}, [])):
        sizes = "lstm", 2, 2, 5, 4, 3, ids
        yield f"ids {ids}", "stacked_step", lambda s=sizes: [*stack(Draw(float), *s)], spoilt, right


def with_wrong_arrays(given_ones):
    """Yield the shape of a wrong version of one array, and the arguments with it."""
    for place, argument in enumerate(given_ones):
        for wrong in wrong_versions(argument):
            yield np.shape(wrong), at(place, lambda _, wrong=wrong: wrong)(given_ones)
        arrays = argument if isinstance(argument, list) else getattr(argument, "arrays", ())
        for i, wrong in ((i, wrong) for i, a in enumerate(arrays) for wrong in wrong_versions(a)):
            change = at(i, lambda _, wrong=wrong: wrong)
            change = change if argument is arrays else of_weights(arrays=change)[1]
            yield np.shape(wrong), at(place, change)(given_ones)


@pytest.mark.parametrize("case", [*spoilt_steps()], ids=lambda case: case[0])
def test_wrong_arguments_of_the_kernel_raise(twin, case):
    _, kernel, good, spoilt, right = case
    step, taken = getattr(twin, kernel), []
    step(*good())
    wrong = [(what, at(place, change)(good())) for what, (place, change) in spoilt.items()]
    for what, given_ones in (*wrong, *(with_wrong_arrays(good()) if right is not None else ())):
        try:
            step(*given_ones)
        except WRONG:
            continue
        taken.append(what)
    assert taken == (right or [])


def test_packed_weights_are_of_float32(twin):
    weights, x, cos, sin, past, *others = arguments(llama(bits=(4,)), 2, 8)
    arrays = [a.astype(float) if isinstance(a, np.ndarray) else a for a in weights.arrays]
    weights.arrays = tuple(arrays)
    x, cos, sin, *past = (array.astype(float) for array in (x, cos, sin, *past))
    with pytest.raises(ValueError, match="step: the shape of a packed weight"):
        twin.block_step(weights, x, cos, sin, past, *others)
