"""Reading with a state or a cache: a text in any pieces has the logits of one pass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_checks import logits_of
from model_table import CAUSAL, WINDOWS, Entry, V, each
from usual import originals_deep

from minillm.decoding import Reader
from minillm.models.ngram import NGramConfig, count_ngrams, estimate

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]
T = 12


class Counted(Entry):
    """An n-gram model of a random text; token 2 ends its lines, if it has any."""

    def new(self, dtype=None):
        order, line_end = self.config
        text = np.random.default_rng(2).integers(0, V, 300)
        if line_end is not None:  # the start of a sentence, V, after each
            text = np.concatenate([[V], np.insert(text, np.flatnonzero(text == line_end) + 1, V)])
        levels = count_ngrams(text.astype(np.int32), order, V)
        return estimate(levels, NGramConfig(V, order, line_end=line_end))


COUNTED = {
    f"{order}-gram{' of lines' if line_end else ''}": Counted(None, (order, line_end), None)
    for order, line_end in ((1, None), (3, None), (4, 2))
}
every_model = each(WINDOWS | CAUSAL | COUNTED)


def texts(B, T, seed=0):
    return np.random.default_rng(seed).integers(0, V, (B, T))


def in_pieces(model, ids, cuts):
    """The logits after each piece, and the state."""
    reader, logits = Reader(model), []
    state = reader.zero_state(len(ids))
    for begin, end in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
        of_piece, state = reader.read(ids[:, begin:end], state)
        logits.append(of_piece)
    return np.stack(logits, axis=1), state


def expected_logits(model, ids):
    """Those of one pass; an n-gram model has those of one token after the other."""
    if hasattr(model, "forward"):
        return logits_of(model, ids)[0]
    return in_pieces(model, ids, range(1, ids.shape[1]))[0]


def same_states(one, other, tolerance=1e-10):
    assert one.keys() == other.keys()
    for name, entry in one.items():
        assert entry.dtype == other[name].dtype
        np.testing.assert_allclose(other[name], entry, rtol=tolerance, atol=tolerance)


@each(WINDOWS | COUNTED)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 1e-4)])
@given(cuts=st.lists(st.integers(1, T - 1), unique=True).map(sorted), B=st.integers(1, 3))
def test_any_split_gives_the_logits_of_one_pass(entry, dtype, tolerance, cuts, B):
    model, ids = entry.new(dtype), texts(B, T)
    whole = expected_logits(model, ids)
    logits, state = in_pieces(model, ids, cuts)
    assert logits.dtype == whole.dtype
    ends = np.array([*cuts, T]) - 1
    np.testing.assert_allclose(logits, whole[:, ends], rtol=0, atol=tolerance * abs(whole).max())
    same_states(in_pieces(model, ids, [])[1], state, tolerance)


@each(WINDOWS)
def test_windows_in_a_row_are_one_text(entry):
    model, text = entry.new(), texts(2, 9)
    whole, _ = model.loss((text[:, :-1], text[:, 1:]))
    state, total = model.zero_state(2), 0.0
    for start, stop in ((0, 1), (1, 5), (5, 8)):
        window, targets = text[:, start:stop], text[:, start + 1 : stop + 1]
        (loss, state), _ = model.window_loss(window, targets, state)
        total += loss * targets.size
    assert total / text[:, 1:].size == pytest.approx(whole)
    same_states(model.forward(text[:, :-1], model.zero_state(2))[0][1], state)


@each(WINDOWS | COUNTED)
def test_a_state_is_a_dictionary_of_arrays_with_a_row_for_each_text(entry):
    model, ids = entry.new(), texts(3, T)
    logits, _ = in_pieces(model, ids, [])
    _, state = in_pieces(model, ids[:, :4], [])
    for b in range(3):
        rows = {key: array[b : b + 1] for key, array in state.items()}
        alone, _ = Reader(model).read(ids[b : b + 1, 4:], rows)
        np.testing.assert_allclose(alone[0], logits[b, -1], rtol=1e-10, atol=1e-12)


@every_model
def test_a_state_may_be_continued_twice(entry):
    """Reading changes neither ids nor state."""
    model, ids, other = entry.new(), texts(2, 9), texts(2, 4, seed=5)
    reader, kept = Reader(model), ids.copy()
    _, state = reader.read(ids[:, :5], reader.zero_state(2))
    _, after = reader.read(ids[:, 5:7], state)
    branch, _ = reader.read(other, state)  # from the same place
    reader.read(other[:, :1], state)
    last, _ = reader.read(ids[:, 7:], after)
    for found, text in ((last, ids), (branch, np.concatenate([ids[:, :5], other], axis=1))):
        expected = expected_logits(model, text)[:, -1]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(ids, kept)


@every_model
@pytest.mark.parametrize("wrong", [-1, V + 1, 2**40])
def test_an_id_that_a_model_has_not_is_named(entry, wrong):
    reader = Reader(entry.new())
    for place in range(7):  # those that a short context leaves out, too
        ids = texts(2, 7)
        ids[1, place] = wrong
        with pytest.raises(ValueError, match=rf": expected 0..\d, found .*{wrong}"):
            reader.read(ids, reader.zero_state(2))
