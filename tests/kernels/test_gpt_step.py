"""One token at a time: the kernel of a whole step, the weights that it knows, and bad input."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import kernels_info, use_kernels
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.gpt_step import StepWeights


def new(dtype=np.float64, **sizes):
    sizes = {"vocabulary": 7, "context": 12, "layers": 2, "heads": 2, "width": 8} | sizes
    model = GPT(GPTConfig(**sizes), np.random.default_rng(0), dtype=dtype)
    rng = np.random.default_rng(1)
    for array in model.params.values():  # no bias is zero, no gain one
        array += (0.3 * rng.standard_normal(array.shape)).astype(dtype)
    return model


def arguments(model, B, S, seed=2):
    """The arguments of gpt_step, for any past."""
    c, rng = model.config, np.random.default_rng(seed)
    weights = StepWeights(c.layers, model.params)
    ids = rng.integers(0, c.vocabulary, B)
    start = rng.integers(0, min(S, c.context), B)
    shape = (B, c.heads, S, c.width // c.heads)
    past = [rng.standard_normal(shape).astype(model.dtype) for _ in range(2 * c.layers)]
    return weights, ids, start, past


SIZES = st.tuples(*(st.integers(1, most) for most in (11, 3, 3, 5, 40, 70)))
SIZES = SIZES.map(lambda s: dict(zip(("B", "layers", "heads", "width", "S", "V"), s, strict=True)))


@given(SIZES, st.sampled_from([(np.float64, 1e-12), (np.float32, 1e-5)]))
def test_the_twin_is_the_original(twin, original, sizes, precision):
    """Where a norm of two or three nearly equal numbers magnifies the rounding of float32, the
    original is as far from the result in float64 as its twin: that much more is allowed.
    """
    dtype, tolerance = precision
    width = sizes["heads"] * (1, 7, 16, 29, 32)[sizes["width"] - 1]  # of a head
    options = {"layers": sizes["layers"], "heads": sizes["heads"], "width": width}
    model = new(dtype, context=30, vocabulary=sizes["V"], **options)
    weights, ids, start, past = arguments(model, sizes["B"], sizes["S"])
    other = [array.copy() for array in past]
    exact_past = [array.astype(np.float64) for array in past]
    exact_params = {name: array.astype(np.float64) for name, array in model.params.items()}
    exact_weights = StepWeights(sizes["layers"], exact_params)
    results = twin.gpt_step(weights, ids, start, past)
    expected = original.gpt_step(weights, ids, start, other)
    exact = original.gpt_step(exact_weights, ids, start, exact_past)
    assert results.shape == expected.shape
    assert results.dtype == expected.dtype == dtype
    for ours, theirs, truth in zip(
        [results, *past], [expected, *other], [exact, *exact_past], strict=True
    ):
        rounding = np.abs(theirs - truth).max() if dtype == np.float32 else 0
        bound = tolerance * max(1, np.abs(theirs).max()) + 2 * rounding
        np.testing.assert_allclose(ours, theirs, atol=bound)


@pytest.mark.parametrize("B", [1, 2, 9])
def test_the_bits_do_not_depend_on_the_threads(twin, same_bits, B):
    model = new(np.float32, vocabulary=999, context=40, layers=5, heads=3, width=192)

    def stepped():
        weights, ids, start, past = arguments(model, B, 40)
        return [twin.gpt_step(weights, ids, start, past), *past]

    same_bits(stepped, counts=(2, 3, 5))


def stepped(model, text):
    logits, state = model.read(text[:, :3], model.zero_state(len(text)))
    for t in range(3, text.shape[1]):
        logits, state = model.read(text[:, t : t + 1], state)
    return logits


TEXT = np.random.default_rng(0).integers(0, 7, (2, 7))


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_step_sees_weights_that_have_changed(order):
    model = new()
    name = "blocks.1.feed_forward.W_1"
    model.params[name] = np.array(model.params[name], order=order)
    before = stepped(model, TEXT)
    model.params[name] *= 2  # in place
    (whole, _), _ = model.forward(TEXT)
    np.testing.assert_allclose(stepped(model, TEXT), whole[:, -1], atol=1e-12)
    assert np.abs(before - whole[:, -1]).max() > 1e-3
    model.params[name] = model.params[name] / 3  # another array
    (whole, _), _ = model.forward(TEXT)
    np.testing.assert_allclose(stepped(model, TEXT), whole[:, -1], atol=1e-12)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_model_that_has_written_can_be_copied(copied):
    model = new()
    expected = stepped(model, TEXT)
    other = copied(model)
    model.params["embedding.E"][:] = 0
    np.testing.assert_array_equal(stepped(other, TEXT), expected)


def test_one_model_under_kernels_that_change():
    model, results = new(), []
    for name in kernels_info()["available"]:
        with use_kernels(name):
            results.append(stepped(model, TEXT))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-12)


@pytest.mark.usefixtures("both_twins")
def test_an_old_state_stays_as_it_is_where_the_window_slides():
    model, rng = new(), np.random.default_rng(4)
    _, old = model.read(TEXT[:1], model.zero_state(1))
    branches = [rng.integers(0, 7, (1, 9)) for _ in range(2)]
    states = [old, old]
    for t in range(9):
        for i, branch in enumerate(branches):
            logits, states[i] = model.read(branch[:, t : t + 1], states[i])
            text = np.concatenate([TEXT[:1], branch[:, : t + 1]], axis=1)
            expected, _ = model.read(text, model.zero_state(1))
            np.testing.assert_allclose(logits, expected, atol=1e-12)


def spoilt():
    """Possible mistakes of a caller, by name."""

    def past(change):
        return lambda w, i, s, p: (w, i, s, [change(p[0]), *p[1:]])

    def weight(place, change):
        def spoil(w, i, s, p):
            w.arrays = (*w.arrays[:place], change(w.arrays[place]), *w.arrays[place + 1 :])
            return w, i, s, p

        return spoil

    def weights(count):
        def spoil(w, i, s, p):
            w.arrays = w.arrays[:count]
            return w, i, s, p

        return spoil

    return {
        "id too large": lambda w, i, s, p: (w, i + 7, s, p),
        "negative id": lambda w, i, s, p: (w, i - 7, s, p),
        "ids of int32": lambda w, i, s, p: (w, i.astype(np.int32), s, p),
        "ids of more rows": lambda w, i, s, p: (w, np.zeros(5, np.int64), s, p),
        "no rows": lambda w, i, s, p: (w, i[:0], s[:0], p),
        "start beyond the room": lambda w, i, s, p: (w, i, s + 9, p),
        "negative start": lambda w, i, s, p: (w, i, s - 9, p),
        "a layer less": lambda w, i, s, p: (w, i, s, p[:-2]),
        "keys of float32": past(lambda k: k.astype(np.float32)),
        "keys of fewer rows": past(lambda k: k[:1]),
        "keys with less room": past(lambda k: np.ascontiguousarray(k[:, :, :4])),
        "keys with strides": past(lambda k: k[:, :, ::2]),
        "no heads": past(lambda k: k[:, :0]),
        "W_2 too small": weight(14, lambda W: W[:-1].copy()),
        "W_1 of another dtype": weight(12, lambda W: W.astype(np.float32)),
        "W_1 with strides": weight(12, lambda W: np.asfortranarray(W)),
        "E without columns": weight(0, lambda E: E[:, :0]),
        "a gain too long": weight(2, lambda g: np.ones(9)),
        "E of one axis": weight(0, lambda E: E[0]),
        "a list for a weight": weight(5, lambda b: list(b)),
        "a weight less": weights(-1),
        "no blocks": weights(4),
    }


@pytest.mark.parametrize("what", spoilt())
def test_wrong_arguments_of_the_kernel_raise(twin, what):
    given_ones = arguments(new(), 2, 8)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        twin.gpt_step(*spoilt()[what](*given_ones))


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize(
    ("ids", "error"),
    [([[7]], ValueError), ([[-1]], ValueError), ([[1.0]], TypeError)],
)
def test_ids_that_cannot_be_are_refused_at_a_step(ids, error):
    model = new()
    _, state = model.read(TEXT[:1], model.zero_state(1))
    with pytest.raises(error, match="ids"):
        model.read(np.array(ids), state)
