"""One step of a stack of recurrent layers and of the output layer, in one call; and bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.ops.recurrence import CELLS

NAMES = ("x", "states", "weights", "output")


def arguments(cell, layers, B, I, H, V, by_ids, dtype=np.float64):
    """The arguments of stacked_step; V = 0: there is no output layer."""
    rng, G = np.random.default_rng(0), CELLS[cell].gates * H

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    x = rng.integers(0, I, B) if by_ids else normal(B, I)
    states = [normal(B, H) for _ in range(layers * len(CELLS[cell].state))]
    weights = []
    for layer in range(layers):
        biases = [normal(G) for _ in CELLS[cell].weights[2:]]
        weights += [normal(I if layer == 0 else H, G), normal(H, G) / H, *biases]
    return CELLS[cell], x, states, weights, [normal(H, V), normal(V)] if V else []


@given(
    st.sampled_from(["rnn", "lstm", "gru"]),
    st.tuples(*(st.integers(1, most) for most in (3, 9, 20, 40))),
    st.integers(0, 40),
    st.booleans(),
    st.sampled_from([(np.float64, 1e-12), (np.float32, 2e-5)]),
)
def test_the_twin_is_the_original(twin, original, cell, sizes, V, by_ids, precision):
    dtype, tolerance = precision
    given_ones = arguments(cell, *sizes, V, by_ids, dtype)
    ours, new = twin.stacked_step(*given_ones)
    theirs, expected = original.stacked_step(*given_ones)
    for one, other in zip([ours, *new], [theirs, *expected], strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("B", [1, 9])
def test_the_bits_do_not_depend_on_the_threads(twin, same_bits, B):
    given_ones = arguments("lstm", 2, B, 50, 300, 4001, True, np.float32)
    same_bits(lambda: [(result := twin.stacked_step(*given_ones))[0], *result[1]])


def test_a_nan_reaches_its_own_row_alone(twin, original):
    given_ones = arguments("gru", 2, 5, 6, 20, 7, False)
    given_ones[1][3, 2] = np.nan
    for kernels in (twin, original):
        logits, _ = kernels.stacked_step(*given_ones)
        assert np.isnan(logits[3]).all()
        assert np.isfinite(np.delete(logits, 3, axis=0)).all()


def changed(**changes):
    """The change of arguments by name; each has a function of what it was."""

    def change(cell, *arguments):
        named = dict(zip(NAMES, arguments, strict=True))
        return cell, *(
            changes.get(name, lambda value: value)(value) for name, value in named.items()
        )

    return change


def at(place, change):
    return lambda arrays: [change(a) if i == place else a for i, a in enumerate(arrays)]


SPOILT = {
    "an id too large": changed(x=lambda x: x + 9),
    "a negative id": changed(x=lambda x: x - 9),
    "ids of int32": changed(x=lambda x: x.astype(np.int32)),
    "fewer ids": changed(x=lambda x: x[:1]),
    "x of another width": changed(x=lambda x: np.ones((2, 3))),
    "x of float32": changed(x=lambda x: np.ones((2, 5), np.float32)),
    "x of three axes": changed(x=lambda x: np.ones((2, 5, 1))),
    "a state less": changed(states=lambda s: s[:-1]),
    "h of fewer rows": changed(states=at(0, lambda h: h[:1])),
    "h of one axis": changed(states=at(0, lambda h: h[0])),
    "c of another width": changed(states=at(1, lambda c: np.tile(c, 2))),
    "c of float32": changed(states=at(3, lambda c: c.astype(np.float32))),
    "no rows": changed(states=lambda s: [h[:0] for h in s]),
    "h with strides": changed(states=at(2, lambda h: np.asfortranarray(h))),
    "a weight less": changed(weights=lambda w: w[:-1]),
    "no weights": changed(weights=lambda w: [], states=lambda s: []),
    "W_x too small": changed(weights=at(0, lambda W: W[:, :-1].copy())),
    "W_x of float32": changed(weights=at(3, lambda W: W.astype(np.float32))),
    "W_h too small": changed(weights=at(1, lambda W: W[:-1].copy())),
    "W_h with strides": changed(weights=at(4, lambda W: np.asfortranarray(W))),
    "a bias too long": changed(weights=at(2, lambda b: np.tile(b, 2))),
    "a bias of float32": changed(weights=at(5, lambda b: b.astype(np.float32))),
    "W of other rows": changed(output=at(0, lambda W: W[:-1].copy())),
    "W of float32": changed(output=at(0, lambda W: W.astype(np.float32))),
    "b too short": changed(output=at(1, lambda b: b[:-1])),
    "no b": changed(output=lambda output: output[:1]),
}


@pytest.mark.parametrize("what", SPOILT)
def test_wrong_arguments_of_the_kernel_raise(twin, what):
    given_ones = arguments("lstm", 2, 2, 5, 4, 3, True)
    twin.stacked_step(*given_ones)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        twin.stacked_step(*SPOILT[what](*given_ones))
