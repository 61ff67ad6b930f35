"""Hiding tokens: which are chosen, and what becomes of them."""

import numpy as np
import pytest

from minillm.data.masking import Masking, Texts, how_many

V, MASK = 50, 4
ORDINARY = np.arange(V) > MASK


def texts(B=200, T=102, seed=0):
    """[CLS] ordinary tokens [SEP], of many lengths; special ones are 0 to 4."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(MASK + 1, V, (B, T))
    lengths = rng.integers(T // 2, T + 1, B)
    ids[:, 0] = 2
    ids[np.arange(B), lengths - 1] = 3
    ids[:, 5] = 1
    return Texts(ids, lengths, np.zeros_like(ids))


def test_proportions():
    """Each share lies within four standard deviations of what is published."""
    before = texts()
    batch = Masking(MASK, ORDINARY).hide(before, np.random.default_rng(1))
    M = len(batch.targets)
    among = np.arange(102) < before.lengths[:, None]
    ordinary = among & ORDINARY[before.ids]
    assert M / ordinary.sum() == pytest.approx(0.15, abs=0.005)
    assert not batch.places[~ordinary].any()  # special tokens and padding
    np.testing.assert_array_equal(batch.ids[~batch.places], before.ids[~batch.places])
    np.testing.assert_array_equal(batch.targets, before.ids[batch.places])
    read = batch.ids[batch.places]
    kept = read == batch.targets
    others = read[(read != MASK) & ~kept]
    for share, expected in (
        ((read == MASK).mean(), 0.8),
        (kept.mean(), 0.1 + 0.1 / ORDINARY.sum()),
        (len(others) / M, 0.1 - 0.1 / ORDINARY.sum()),
    ):
        assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / M))
    assert ORDINARY[others].all()
    counts = np.bincount(others, minlength=V)[ORDINARY]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 90  # chi-squared, 44 degrees


def test_every_place_is_as_likely():
    before = texts(B=3000, T=12)._replace(lengths=np.full(3000, 12))
    ids = before.ids.copy()
    ids[:, 1:] = 7
    batch = Masking(MASK, ORDINARY).hide(before._replace(ids=ids), np.random.default_rng(2))
    counts = batch.places[:, 1:].sum(axis=0)
    assert batch.places.sum(axis=1).tolist() == [2] * 3000  # 15 % of 11
    assert np.abs(counts - counts.mean()).max() < 4 * np.sqrt(3000 * 2 / 11 * 9 / 11)


def test_the_number_of_places():
    may = np.arange(20) < np.array([0, 1, 3, 10, 11, 20])[:, None]
    assert how_many(may).tolist() == [0, 1, 1, 2, 2, 3]
