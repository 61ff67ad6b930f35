"""One token at a time: the kernel of a whole step, the weights that it knows, and bad input."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import kernels_info, use_kernels
from minillm.decoding import Reader, TargetDecoder
from minillm.decoding.decoder import select
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.transformer import Transformer, TransformerConfig


def moved(model):
    """No bias is zero, no gain one; a weight of N inputs moves by 1 / sqrt(N) at most.

    Scores of some hundreds would make a softmax of one element, whose ties magnify any rounding.
    """
    rng = np.random.default_rng(1)
    for array in model.params.values():
        size = 0.3 if array.ndim == 1 else min(0.3, len(array) ** -0.5)
        array += (size * rng.standard_normal(array.shape)).astype(model.dtype)
    return model


def new(dtype=np.float64, **sizes):
    sizes = {"vocabulary": 7, "context": 12, "layers": 2, "heads": 2, "width": 8} | sizes
    return moved(GPT(GPTConfig(**sizes), np.random.default_rng(0), dtype=dtype))


def new_transformer(dtype=np.float64, **options):
    sizes = {"layers": 2, "heads": 2, "width": 8, "feed_forward": 12} | options
    config = TransformerConfig(6, 7, **sizes)
    return moved(Transformer(config, np.random.default_rng(0), dtype=dtype))


def arguments(model, Q, S, seed=2):
    """The arguments of block_step for a GPT, with any past."""
    c, rng = model.config, np.random.default_rng(seed)
    shape = (Q, c.heads, S, c.width // c.heads)
    past = [rng.standard_normal(shape).astype(model.dtype) for _ in range(2 * c.layers)]
    x = rng.standard_normal((Q, c.width)).astype(model.dtype)
    weights, start = Reader(model).new_weights(), rng.integers(0, S, Q)
    return weights, x, *no_angles(model.dtype), past, start, None, [], None, -1


def no_angles(dtype):
    return (np.zeros((0, 0, 0), dtype),) * 2


def arguments_with_source(model, B, K, T, S, seed=2):
    """The same for B sources with K hypotheses each, of T tokens in a pool of more rows."""
    c, rng = model.config, np.random.default_rng(seed)
    Q, width = B * K, c.width // c.heads

    def kept(rows, *shape):  # the keys and values of a token side by side
        return [
            rng.standard_normal((*shape, rows, c.heads, width)).astype(model.dtype).swapaxes(1, 2)
            for _ in range(2 * c.layers)
        ]

    pool, memory = kept(Q * T + 3, 1), kept(S, B)
    new, read = np.split(rng.permutation(Q * T + 3), [Q])
    rows = rng.choice(read, (Q, T))
    rows[:, -1] = new  # each has its own new one, which no other has read
    x = rng.standard_normal((Q, c.width)).astype(model.dtype)
    lengths = rng.integers(0, S + 1, B)
    weights = TargetDecoder(model).new_weights()
    before, angles = np.full(Q, T - 1), no_angles(model.dtype)
    return weights, x, *angles, pool, before, rows, memory, lengths, c.layers - 1


def in_float64(model, arguments):
    """The same model and arguments, in float64."""
    params = {name: array.astype(np.float64) for name, array in model.params.items()}
    exact = type(model)(model.config, params=params)
    _, x, _, _, past, start, rows, memory, lengths, shown = arguments
    weights = (Reader if isinstance(model, GPT) else TargetDecoder)(exact).new_weights()
    past, memory = ([array.astype(np.float64) for array in kept] for kept in (past, memory))
    angles = no_angles(np.float64)
    return weights, x.astype(np.float64), *angles, past, start, rows, memory, lengths, shown


def assert_twins(twin, original, model, given_ones, tolerance):
    """Where a norm of two or three nearly equal numbers magnifies the rounding of float32, twins
    may be as far apart as the original is from the result in float64, or as that result moves when
    its input moves by one rounding of float32.
    """
    weights, x, cos, sin, past, *others = given_ones
    other, exact = [array.copy() for array in past], in_float64(model, given_ones)
    results = twin.block_step(*given_ones)
    expected = original.block_step(weights, x, cos, sin, other, *others)
    moved = in_float64(model, given_ones)
    moved[1][...] *= 1 + 2.0**-23 * (-1.0) ** np.arange(x.shape[-1])
    truths, after = original.block_step(*exact), original.block_step(*moved)
    assert (results[1] is None) == (expected[1] is None) == isinstance(model, GPT)
    found = ([*results, *past], [*expected, *other], [*truths, *exact[4]], [*after, *moved[4]])
    for ours, theirs, truth, near in zip(*found, strict=True):
        if ours is None:
            continue
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype == model.dtype
        rounding = 0
        if model.dtype == np.float32:
            rounding = max(np.abs(theirs - truth).max(), np.abs(near - truth).max())
        bound = tolerance * max(1, np.abs(theirs).max()) + 2 * rounding
        np.testing.assert_allclose(ours, theirs, atol=bound)


SIZES = st.tuples(*(st.integers(1, most) for most in (11, 3, 3, 5, 40, 70)))
SIZES = SIZES.map(lambda s: dict(zip(("B", "layers", "heads", "width", "S", "V"), s, strict=True)))
PRECISIONS = st.sampled_from([(np.float64, 1e-12), (np.float32, 1e-5)])
WIDTHS = (1, 7, 16, 29, 32)  # of a head


@given(SIZES, PRECISIONS)
def test_the_twin_is_the_original(twin, original, sizes, precision):
    dtype, tolerance = precision
    width = sizes["heads"] * WIDTHS[sizes["width"] - 1]
    options = {"layers": sizes["layers"], "heads": sizes["heads"], "width": width}
    model = new(dtype, context=40, vocabulary=sizes["V"], **options)
    assert_twins(twin, original, model, arguments(model, sizes["B"], sizes["S"]), tolerance)


@given(SIZES, st.integers(1, 9), st.integers(1, 4), st.booleans(), st.booleans(), PRECISIONS)
def test_the_twin_is_the_original_with_a_source(
    twin, original, sizes, T, K, post_norm, tied, precision
):
    dtype, tolerance = precision
    width = 2 * sizes["heads"] * WIDTHS[sizes["width"] - 1]
    options = {"layers": sizes["layers"], "heads": sizes["heads"], "width": width}
    model = new_transformer(
        dtype, feed_forward=sizes["V"], post_norm=post_norm, tied=tied, **options
    )
    given_ones = arguments_with_source(model, sizes["B"], K, T, sizes["S"])
    assert_twins(twin, original, model, given_ones, tolerance)


@pytest.mark.parametrize("Q", [1, 2, 9, 40])  # 40 rows are two groups on one thread
def test_the_bits_do_not_depend_on_the_threads(twin, same_bits, Q):
    model = new(np.float32, vocabulary=999, context=40, layers=5, heads=3, width=192)

    def stepped():
        given_ones = arguments(model, Q, 40)
        return [twin.block_step(*given_ones)[0], *given_ones[4]]

    same_bits(stepped, counts=(2, 3, 5))


@pytest.mark.parametrize(("B", "K"), [(1, 1), (2, 2), (7, 5), (33, 4)])
@pytest.mark.parametrize("post_norm", [True, False])
def test_the_bits_with_a_source_do_not_depend_on_the_threads(twin, same_bits, B, K, post_norm):
    sizes = {"layers": 3, "heads": 3, "width": 192, "feed_forward": 512, "post_norm": post_norm}
    model = new_transformer(np.float32, **sizes)

    def stepped():
        given_ones = arguments_with_source(model, B, K, 7, 12)
        return [*twin.block_step(*given_ones), *given_ones[4]]

    same_bits(stepped, counts=(2, 3, 5))


@pytest.mark.parametrize("of_twin", [True, False])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_nobodys_has_no_influence(twin, original, of_twin, poison):
    """Positions behind a row's last, rows of the pool that nobody looks at, and padding."""
    step = (twin if of_twin else original).block_step
    given_ones = arguments(new(), 3, 9)
    expected = step(*given_ones)[0]
    for q, before in enumerate(given_ones[5]):
        for array in given_ones[4]:
            array[q, :, before + 1 :] = poison
    np.testing.assert_array_equal(step(*given_ones)[0], expected)

    given_ones = arguments_with_source(new_transformer(), 4, 2, 3, 9)
    _, _, _, _, pool, _, rows, memory, lengths, _ = given_ones
    expected = step(*given_ones)
    unseen = np.setdiff1d(np.arange(pool[0].shape[2]), rows)
    assert len(unseen)
    for array in pool:
        array[0, :, unseen] = poison
    for array in memory:
        for b, length in enumerate(lengths):
            array[b, :, length:] = poison
    for ours, before in zip(step(*given_ones), expected, strict=True):
        np.testing.assert_array_equal(ours, before)


@pytest.mark.parametrize("with_source", [False, True])
def test_a_nan_reaches_its_own_row_alone(twin, original, with_source):
    model = new_transformer(post_norm=True) if with_source else new()
    given_ones = arguments_with_source(model, 4, 2, 3, 9) if with_source else arguments(model, 8, 9)
    given_ones[1][5, 1] = np.nan
    with np.errstate(invalid="ignore"):
        for kernels in (twin, original):
            logits, _ = kernels.block_step(*given_ones)
            assert np.isnan(logits[5]).all()
            assert np.isfinite(np.delete(logits, 5, axis=0)).all()


def stepped(reader, text):
    logits, state = reader.read(text[:, :3], reader.zero_state(len(text)))
    for t in range(3, text.shape[1]):
        logits, state = reader.read(text[:, t : t + 1], state)
    return logits


TEXT = np.random.default_rng(0).integers(0, 7, (2, 7))


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_step_sees_weights_that_have_changed(order):
    model = new()
    name = "blocks.1.feed_forward.W_1"
    model.params[name] = np.array(model.params[name], order=order)
    reader = Reader(model)
    before = stepped(reader, TEXT)
    model.params[name] *= 2  # in place
    whole, _ = model.forward(TEXT)
    np.testing.assert_allclose(stepped(reader, TEXT), whole[:, -1], atol=1e-12)
    assert np.abs(before - whole[:, -1]).max() > 1e-3
    model.params[name] = model.params[name] / 3  # another array
    whole, _ = model.forward(TEXT)
    np.testing.assert_allclose(stepped(reader, TEXT), whole[:, -1], atol=1e-12)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_a_reader_that_has_read_can_be_copied(copied):
    reader = Reader(new())
    expected = stepped(reader, TEXT)
    other = copied(reader)
    reader.model.params["embedding.E"][:] = 0
    np.testing.assert_array_equal(stepped(other, TEXT), expected)
    other.model.params["blocks.0.norm_1.gain"] *= 2
    whole, _ = other.model.forward(TEXT)
    np.testing.assert_allclose(stepped(other, TEXT), whole[:, -1], atol=1e-12)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_decoder_that_has_written_can_be_copied(copied):
    decoder, source = TargetDecoder(new_transformer()), np.array([[1, 2]])

    def decoded(decoder):
        logits, _, _ = decoder.step(np.array([[3]]), decoder.start(source, np.array([2])))
        return logits

    expected = decoded(decoder)
    other = copied(decoder)
    decoder.model.params["target.E"][:] = 0
    np.testing.assert_array_equal(decoded(other), expected)


def test_one_model_under_kernels_that_change():
    reader, results = Reader(new()), []
    for name in kernels_info()["available"]:
        with use_kernels(name):
            results.append(stepped(reader, TEXT))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-12)


@pytest.mark.usefixtures("both_twins")
def test_an_old_state_stays_as_it_is_where_the_window_slides():
    reader, rng = Reader(new()), np.random.default_rng(4)
    _, old = reader.read(TEXT[:1], reader.zero_state(1))
    branches = [rng.integers(0, 7, (1, 9)) for _ in range(2)]
    states = [old, old]
    for t in range(9):
        for i, branch in enumerate(branches):
            logits, states[i] = reader.read(branch[:, t : t + 1], states[i])
            text = np.concatenate([TEXT[:1], branch[:, : t + 1]], axis=1)
            expected, _ = reader.read(text, reader.zero_state(1))
            np.testing.assert_allclose(logits, expected, atol=1e-12)


NAMES = ("weights", "x", "cos", "sin", "past", "start", "rows", "memory", "lengths", "shown")


def changed(**changes):
    """The change of arguments by name; each has a function of what it was."""

    def change(*arguments):
        named = dict(zip(NAMES, arguments, strict=True))
        return [changes.get(name, lambda value: value)(value) for name, value in named.items()]

    return change


def first(change):
    return lambda arrays: [change(arrays[0]), *arrays[1:]]


def weight(place, change):
    """The same of one weight."""

    def spoil(weights):
        arrays = list(weights.arrays)
        arrays[place] = change(arrays[place])
        weights.arrays = tuple(arrays)
        return weights

    return changed(weights=spoil)


def fewer_weights(count):
    def spoil(weights):
        weights.arrays = weights.arrays[:count]
        return weights

    return changed(weights=spoil)


SPOILT = {
    "x of float32": changed(x=lambda x: x.astype(np.float32)),
    "x too wide": changed(x=lambda x: np.tile(x, 2)),
    "x with strides": changed(x=lambda x: np.asfortranarray(x)),
    "x of no whole texts": changed(x=lambda x: np.tile(x, (2, 1))[:3]),
    "no rows": changed(x=lambda x: x[:0]),
    "start of int32": changed(start=lambda n: n.astype(np.int32)),
    "start beyond the room": changed(start=lambda n: n + 9),
    "start below 0": changed(start=lambda n: n - 9),
    "no start": changed(start=lambda n: n[:0]),
    "start of fewer texts": changed(start=lambda n: n[:1]),
    "a layer less": changed(past=lambda p: p[:-2]),
    "keys of float32": changed(past=first(lambda k: k.astype(np.float32))),
    "keys of fewer rows": changed(past=first(lambda k: k[:1])),
    "keys with less room": changed(past=first(lambda k: np.ascontiguousarray(k[:, :, :4]))),
    "keys with strides": changed(past=first(lambda k: k[..., ::2])),
    "keys to be read only": changed(past=first(lambda k: np.broadcast_to(k[:1], k.shape))),
    "no heads": changed(past=lambda p: [k[:, :0] for k in p]),
    "W_2 too small": weight(-3, lambda W: W[:-1].copy()),
    "W_1 of another dtype": weight(-5, lambda W: W.astype(np.float32)),
    "W_1 with strides": weight(-5, lambda W: np.asfortranarray(W)),
    "E without columns": weight(2, lambda E: E[:, :0]),
    "E of one axis": weight(2, lambda E: E[0]),
    "no E": weight(2, lambda E: None),
    "E and b": weight(3, lambda b: np.ones(7)),
    "a gain too long": weight(0, lambda g: np.ones(9)),
    "a bias without a gain": weight(0, lambda g: None),
    "no W_qkv": weight(6, lambda W: None),
    "a list for a weight": weight(7, lambda b: list(b)),
    "cross-attention in one layer": weight(4 + 22 + 11, lambda W: np.ones((8, 8))),
    "a weight less": fewer_weights(-1),
    "no blocks": fewer_weights(4),
}
SPOILT_WITH_SOURCE = {
    "no memory": changed(memory=lambda m: []),
    "memory of fewer rows": changed(memory=first(lambda k: k[:1])),
    "memory of other rows": changed(memory=lambda m: [np.repeat(k, 2, 0)[:3] for k in m]),
    "memory of other heads": changed(memory=lambda m: [k[:, :1] for k in m]),
    "no lengths": changed(lengths=lambda n: None),
    "fewer lengths": changed(lengths=lambda n: n[:1]),
    "lengths beyond the source": changed(lengths=lambda n: n + 9),
    "negative lengths": changed(lengths=lambda n: n - 9),
    "no rows of the pool": changed(rows=lambda r: None),
    "rows of fewer hypotheses": changed(rows=lambda r: r[:1]),
    "a negative row": changed(rows=lambda r: r - 99),
    "a row beyond the pool": changed(rows=lambda r: r + 99),
    "a cross-attention too few": weight(4 + 22 + 11, lambda W: None),
    "only part of a cross-attention": weight(4 + 13, lambda W: None),
}


@pytest.mark.parametrize("what", SPOILT)
def test_wrong_arguments_of_the_kernel_raise(twin, what):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        twin.block_step(*SPOILT[what](*arguments(new(), 2, 8)))


@pytest.mark.parametrize("what", SPOILT_WITH_SOURCE)
def test_wrong_arguments_with_a_source_raise(twin, what):
    given_ones = arguments_with_source(new_transformer(), 2, 2, 3, 5)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        twin.block_step(*SPOILT_WITH_SOURCE[what](*given_ones))


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize(
    ("ids", "error"),
    [([[7]], ValueError), ([[-1]], ValueError), ([[1.0]], TypeError)],
)
def test_ids_that_cannot_be_are_refused_at_a_step(ids, error):
    reader = Reader(new())
    _, state = reader.read(TEXT[:1], reader.zero_state(1))
    with pytest.raises(error, match="ids"):
        reader.read(np.array(ids), state)


@given(
    st.sampled_from(kernels_info()["available"]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_hypotheses_are_alone_in_the_world(name, B, K, parents, post_norm, tied):
    """Step by step, each hypothesis has the logits of its own text alone, from its source alone,
    without a cache, without padding, and without others beside it."""
    with use_kernels(name):
        follow_hypotheses(B, K, parents, post_norm, tied)


def follow_hypotheses(B, K, parents, post_norm, tied):
    model = new_transformer(post_norm=post_norm, tied=tied)
    rng = np.random.default_rng(B + 10 * K)
    source, lengths = rng.integers(0, 6, (B, 5)), rng.integers(1, 6, B)
    decoder = TargetDecoder(model)
    state, ids = decoder.start(source, lengths), np.full((B, 1), model.config.bos)
    texts = ids[..., None]
    for parent in parents:
        logits, weights, state = decoder.step(ids, state)
        for b, k in np.ndindex(ids.shape):
            one = source[b : b + 1, : lengths[b]]
            memory, _ = model.encode(one, lengths[b : b + 1])
            y, _ = model.decode(texts[b : b + 1, k], memory, lengths[b : b + 1])
            output = model.output()
            expected = y[0, -1] @ output["output.W"] + output.get("output.b", 0)
            np.testing.assert_allclose(logits[b, k], expected, rtol=1e-9, atol=1e-10)
            np.testing.assert_allclose(weights[b, k, : lengths[b]].sum(), 1, rtol=1e-12)
            assert not weights[b, k, lengths[b] :].any()
        chosen = (np.arange(B * K).reshape(B, K) + parent) % ids.shape[1]
        state, ids = select(state, np.arange(B), chosen), rng.integers(0, 7, (B, K))
        texts = np.concatenate([texts[np.arange(B)[:, None], chosen], ids[..., None]], axis=2)
