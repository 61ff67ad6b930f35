"""Subsets of labelled texts: every label, in its share, nested, and the same by seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.studies.curve import hold_out, nested_order

LABELS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=60)
SEED = st.integers(0, 1000)


@given(labels=LABELS, seed=SEED)
def test_the_first_rows_of_any_number_have_the_labels_in_their_shares(labels, seed):
    order = nested_order(labels, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    assert order == nested_order(labels, np.random.default_rng(seed))
    whole = Counter(labels)
    for n in range(len(whole), len(labels) + 1):
        results = Counter(labels[row] for row in order[:n])
        assert results.keys() == whole.keys()
        for label, count in whole.items():
            # each label's first row is out of turn: as many of the others come later
            assert abs(results[label] - n * count / len(labels)) <= len(whole)


def test_seeds_differ_and_each_row_may_be_the_first():
    labels = list("aaaabbbb")
    orders = [nested_order(labels, np.random.default_rng(seed)) for seed in range(200)]
    assert {order[0] for order in orders} == set(range(8))
    assert len({tuple(order) for order in orders}) > 150


@given(labels=LABELS, every=st.integers(2, 6))
def test_every_nth_text_of_a_label_is_held_out(labels, every):
    labelled = [(label, str(number)) for number, label in enumerate(labels)]
    training, validation = hold_out(labelled, every)
    assert sorted([*training, *validation]) == sorted(labelled)
    counts = Counter(labels)
    assert Counter(label for label, _ in validation) == Counter(
        {label: count // every for label, count in counts.items() if count >= every}
    )
    for n in range(len(labels)):  # nested, too
        assert set(hold_out(labelled[:n], every)[1]) <= set(validation)


@pytest.mark.parametrize("every", [2, 5])
def test_a_label_of_one_text_is_trained_on(every):
    assert hold_out([("a", "x")], every) == ([("a", "x")], [])
