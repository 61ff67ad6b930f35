"""Subsets of labelled texts for a learning curve: nested, stratified, and the same by seed."""

from collections.abc import Sequence

import numpy as np

from minillm.data.labelled import Labelled, with_held_out


def nested_order(labels: Sequence[str], rng: np.random.Generator) -> list[int]:
    """Return an order of the rows in which the first n, for any n, have the same shares of labels.

    The rows of each label are shuffled and spread evenly over the order; rows at the same place are
    in random order.  One row of each label comes first: no label is missing if n is at least the
    number of labels.

    >>> order = nested_order(list("aabaabaab"), np.random.default_rng(0))
    >>> "".join("aabaabaab"[row] for row in order[:6])
    'baaaba'
    """
    place = np.empty(len(labels))
    kinds = np.asarray(labels)
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(kinds == label))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        place[rows[0]] = 0
    return np.lexsort([rng.random(len(labels)), place]).tolist()


def hold_out(labelled: Sequence[Labelled], every: int) -> tuple[list[Labelled], list[Labelled]]:
    """Split off validation texts: every second, third, ... text of each label."""
    rows = list(with_held_out(labelled, every))
    training = [row for held_out, row in rows if not held_out]
    return training, [row for held_out, row in rows if held_out]
