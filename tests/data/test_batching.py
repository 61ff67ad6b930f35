"""Batches of rows of similar length."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minillm.data.sequences import batches_in_order

LIMITS = st.one_of(st.just(math.inf), st.integers(1, 40))


@given(
    st.lists(st.integers(0, 20), max_size=30).map(np.array),
    st.sampled_from([1, -1]),
    LIMITS,
    LIMITS,
    st.one_of(st.just(math.inf), st.integers(0, 40)),
)
def test_batches_are_as_large_as_the_limits_allow(lengths, direction, rows, tokens, padding):
    order = np.argsort(direction * lengths, kind="stable").astype(int)
    limits = {"rows": rows, "tokens": tokens, "padding": padding}
    batches = [batch.tolist() for batch in batches_in_order(order, lengths, **limits)]
    assert [row for batch in batches for row in batch] == order.tolist()

    def fits(batch):
        size = max(lengths[batch]) * len(batch)
        within = size <= tokens and size - sum(lengths[batch]) <= padding
        return len(batch) == 1 or (len(batch) <= rows and within)

    assert all(map(fits, batches))
    for batch, following in pairwise(batches):
        assert not fits([*batch, following[0]])
