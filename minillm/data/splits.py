"""Splits that never change, because they use hashes, not random numbers."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def split_by_hash(
    items: Iterable[Item], validation: int, test: int, key: Callable[[Item], str] = str
) -> dict[str, list[Item]]:
    """Sort items by SHA-256 of their keys, and cut: first test, then validation, then training.

    The split is the same on every machine and with every version of every library.  It does not
    depend on the order of the items.
    """
    ordered = sorted(items, key=lambda item: hashlib.sha256(key(item).encode()).digest())
    return {
        "test": ordered[:test],
        "validation": ordered[test : test + validation],
        "training": ordered[test + validation :],
    }


def split_groups(groups: Mapping[str, Sequence[Item]], share: int) -> dict[str, list[Item]]:
    """The items of whole groups: 1 / share of the groups is for validation, as many for test.

    A hash of its name assigns a group, so that items of one group are never in two parts.
    """
    held_out = len(groups) // share
    return {
        part: [item for name in sorted(names) for item in groups[name]]
        for part, names in split_by_hash(groups, held_out, held_out).items()
    }
