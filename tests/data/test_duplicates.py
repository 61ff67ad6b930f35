"""Equal documents are found, whichever rank has read them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks_in_threads import on_ranks

from minillm.data import duplicates
from minillm.data.duplicates import Digests, repeated


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=60),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_all_but_the_first_of_equal_documents_are_found(documents, size, at_once, block):
    """documents: (contents, who has read it), at places in this order."""
    later = [d in [other for other, _ in documents[:k]] for k, (d, _) in enumerate(documents)]

    def work(ranks):
        mine = [k for k, (_, reader) in enumerate(documents) if reader % size == ranks.rank]
        with Digests() as digests:
            for k in mine[::-1]:  # in any order
                digests.add(hashlib.sha256(b"%d" % documents[k][0]).digest(), k)
            return mine[::-1], repeated(digests, ranks).tolist()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duplicates, "PASS", at_once)
        patched.setattr(duplicates, "_BLOCK", block)
        results = on_ranks(size, work)
    assert {k: flag for ks, flags in results for k, flag in zip(ks, flags, strict=True)} == dict(
        enumerate(later)
    )


def test_digests_that_differ_in_one_bit_are_different():
    with Digests() as digests:
        for bit in range(128):
            digests.add((1 << bit).to_bytes(16), bit)
        digests.add((1 << 64).to_bytes(16), 1000)
        (results,) = on_ranks(1, lambda ranks: repeated(digests, ranks))
    assert np.flatnonzero(results).tolist() == [128]
