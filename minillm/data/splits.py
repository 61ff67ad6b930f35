"""Splits that never change: by a hash of the item, not by a generator's draws."""

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def split_by_hash(
    items: Iterable[Item], validation: int, test: int, key: Callable[[Item], str] = str
) -> dict[str, list[Item]]:
    """The items in the order of SHA-256 of their keys: first test, then validation, then training.

    The same on every machine and with every version of every library, and none of it
    depends on the order in which the items came.
    """
    ordered = sorted(items, key=lambda item: hashlib.sha256(key(item).encode()).digest())
    return {
        "test": ordered[:test],
        "validation": ordered[test : test + validation],
        "training": ordered[test + validation :],
    }
