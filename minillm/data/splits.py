"""Splits that never change, because they use hashes, not random numbers."""

import hashlib
from collections.abc import Callable, Iterable
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
