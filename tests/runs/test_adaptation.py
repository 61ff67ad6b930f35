"""The text to adapt to, mixed with general text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.runs.kinds.texts import PIECE, in_turns

SIZES = st.integers(2, 5 * PIECE)


@given(new=SIZES, old=SIZES, share=st.floats(0.01, 0.9))
def test_all_of_the_new_text_is_there_in_its_order_and_a_share_of_the_old(new, old, share):
    mixed = in_turns(np.arange(new), -1 - np.arange(old), share)
    assert np.array_equal(mixed[mixed >= 0], np.arange(new))
    pieces = max(1, round(new / PIECE))
    wanted = share / (1 - share) * new
    assert (mixed < 0).sum() == pytest.approx(min(wanted, pieces * old), abs=pieces)


@given(new=st.integers(2 * PIECE, 5 * PIECE), share=st.floats(0.05, 0.9))
def test_the_old_text_is_spread_over_the_new_one_and_whole_in_itself(new, share):
    old = np.arange(100_000, 100_000 + 20 * PIECE)
    mixed = in_turns(np.arange(new), old, share)
    replayed = mixed >= 100_000
    edges = np.flatnonzero(np.diff(replayed.astype(int)))
    assert not replayed[0]
    assert replayed[-1]
    assert np.diff(edges, prepend=-1).max() <= max(2 * PIECE, share / (1 - share) * 2 * PIECE)
    for piece in np.split(mixed, edges + 1):
        assert (np.diff(piece) == 1).all()
    assert mixed[replayed].min() == old[0]
    assert mixed[replayed].max() == old[-1]
