"""The parts of a data set; splits into parts never change, because they use hashes."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from minillm.errors import InputError

Item = TypeVar("Item")


class Split(dict[str, list[Item]]):
    """The items of "training", "validation" and, in a built-in set, "test"."""

    def __init__(self, name: str | Path, parts: Mapping[str, list[Item]]):
        super().__init__(parts)
        self.name = name

    def __missing__(self, part: str) -> list[Item]:
        raise InputError(f"{self.name}: it has no {part} part: give the file to measure on")


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
