"""The registry of built-in data sets, and the opening of data by name or path.

A built-in set is opened by its name, other data by their path:

    open_data("pairs", "numbers-en-fr")
    open_data("pairs", "training.tsv", "validation.tsv")

A new set is a line in BUILT_IN.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from minillm.data.built_in import Digits, cmudict, numbers
from minillm.data.docstrings import docstrings
from minillm.data.files import STANDARD_INPUT
from minillm.data.labelled import open_labelled
from minillm.data.pairs import open_pairs
from minillm.data.python_texts import TEXTS
from minillm.data.splits import Split
from minillm.data.squad import open_questions
from minillm.errors import InputError


@dataclass(frozen=True)
class BuiltIn:
    """A data set with a name, or a family of them."""

    name: str  # as messages show it
    kind: str  # "text", "pairs" or "images"
    open: Callable[..., Any]  # takes the groups of the pattern's match
    pattern: str = ""  # of a family: a regular expression that matches its names
    units: tuple[str, str] = ("word", "word")  # suitable for the two sides of pairs
    task: str = "translation"  # of pairs: "pronunciation", "translation" or "summary"

    def match(self, name: str) -> re.Match[str] | None:
        """The match if ``name`` is this set, or one of this family."""
        return re.fullmatch(self.pattern or re.escape(self.name), name)


BUILT_IN = (
    *(BuiltIn(name, "text", read) for name, read in TEXTS.items()),
    BuiltIn("cmudict", "pairs", cmudict, units=("character", "token"), task="pronunciation"),
    BuiltIn("numbers-XX-YY", "pairs", cache(numbers), pattern=r"numbers-(\w+)-(\w+)"),
    BuiltIn("docstrings", "pairs", cache(docstrings), task="summary"),  # it takes seconds
    BuiltIn("digits", "images", Digits),
)


# --- names ---------------------------------------------------------------------------


def built_in(name: str) -> BuiltIn | None:
    """The built-in set of this name, or None if there is none."""
    return next((entry for entry in BUILT_IN if entry.match(name)), None)


def absolute(name: str) -> str:
    """The absolute path; the name of a built-in set does not change."""
    return name if name == STANDARD_INPUT or built_in(name) else os.path.realpath(name)


def names_of(kind: str) -> str:
    """The names of the built-in sets of a kind, with commas between them."""
    return ", ".join(entry.name for entry in BUILT_IN if entry.kind == kind)


def set_of_pairs(name: str) -> BuiltIn:
    """The declaration of a set of pairs; of a file, words that are translated."""
    return built_in(name) or BuiltIn(name, "pairs", open_pairs)


# --- opening -------------------------------------------------------------------------

FILES: dict[str, Callable[..., Split]] = {
    "pairs": open_pairs,
    "labelled": open_labelled,
    "questions": open_questions,
}


def open_data(kind: str, name: str, validation: str | None = None) -> Any:
    """The built-in set of this name, or the data of a file and of one to validate on.

    kind: "pairs", "labelled", "questions" or "images".
    """
    entry = built_in(name)
    if entry is None:
        if kind not in FILES:
            raise InputError(f"expected a set of {kind} ({names_of(kind)}), found {name}")
        if name == STANDARD_INPUT:
            raise InputError(f"standard input: expected a file, because {kind} are read repeatedly")
        return FILES[kind](name, validation)
    if entry.kind != kind:
        raise InputError(f"{name}: expected {kind}, found a built-in set of kind {entry.kind!r}")
    if validation:
        raise InputError(f"validation: expected none, as {name} has its own, found {validation}")
    match = entry.match(name)
    assert match is not None
    return entry.open(*match.groups())
