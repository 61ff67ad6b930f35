"""The entries of a file of another program: checked one by one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minillm.errors import InputError, short

LARGEST = 10**40  # a size; one of thousands of digits cannot even be written into a message


@dataclass(frozen=True)
class Entries:
    """The values of a file by name.  One of another type than expected is an InputError."""

    path: str | Path
    values: Mapping[str, Any]

    def wrong(self, name: str, expected: str) -> InputError:
        """The error for an entry that has another value than expected."""
        found = short(self.values.get(name))
        return InputError(f"{self.path}: {name}: expected {expected}, found {found}")

    def check(self, name: str, allowed: tuple[Any, ...], expected: str = "") -> None:
        """InputError for another value than the allowed ones, the default first."""
        value = self.values.get(name, allowed[0])
        if isinstance(value, np.ndarray) or value not in allowed:
            raise self.wrong(name, expected or " or ".join(map(repr, allowed)))

    def check_all(self, allowed: Mapping[str, tuple[Any, ...]]) -> None:
        """Check each of these entries."""
        for name, values in allowed.items():
            self.check(name, values)

    def text(self, name: str, *default: str) -> str:
        """A text."""
        value = self.values.get(name, *default)
        if not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value

    def size(self, name: str, least: int = 1) -> int:
        """A whole number from ``least`` up."""
        value = self.values.get(name)
        if type(value) is not int or not least <= value <= LARGEST:
            raise self.wrong(name, f"a whole number from {least} up")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str, *default: float) -> float:
        """A number; a whole one has 64 bits."""
        value: Any = self.values.get(name, *default)
        if not (type(value) is float or (type(value) is int and abs(value) < 2**63)):
            raise self.wrong(name, "a number")
        return float(value)


@contextmanager
def in_file(path: str | Path) -> Iterator[None]:
    """Let a ValueError in the block become an InputError that names the file."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, InputError) and error.field is None:
            raise  # it names the file
        raise InputError(f"{path}: {error}") from None
