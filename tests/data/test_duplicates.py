"""Equal documents are found, whichever rank has read them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks_in_threads import on_ranks

from minillm.data import duplicates
from minillm.data.duplicates import repeated


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=60),
    st.integers(1, 4),
    st.integers(1, 20),
)
def test_all_but_the_first_of_equal_documents_are_found(documents, size, at_once):
    """documents: (contents, who has read it), at places in this order."""
    later = [d in [other for other, _ in documents[:k]] for k, (d, _) in enumerate(documents)]
    digests = [hashlib.sha256(b"%d" % d).digest()[:16] for d, _ in documents]
    digests = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)

    def work(ranks):
        mine = [k for k, (_, reader) in enumerate(documents) if reader % size == ranks.rank]
        mine = np.array(mine[::-1], int)  # in any order
        return mine.tolist(), repeated(digests[mine], mine.astype(np.uint64), ranks).tolist()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duplicates, "PASS", at_once)
        results = on_ranks(size, work)
    assert {k: flag for ks, flags in results for k, flag in zip(ks, flags, strict=True)} == dict(
        enumerate(later)
    )


def test_digests_that_differ_in_one_bit_are_different():
    values = [*(1 << bit for bit in range(128)), 1 << 64]
    digests = np.array([(value >> 64, value % (1 << 64)) for value in values], np.uint64)
    places = np.arange(129, dtype=np.uint64)
    (results,) = on_ranks(1, lambda ranks: repeated(digests, places, ranks))
    assert np.flatnonzero(results).tolist() == [128]
