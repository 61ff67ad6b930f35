"""The registry of built-in data sets, and the opening of data by name or path.

A built-in set is opened by its name, other data by their path:

    open_pairs("numbers-en-fr")
    open_pairs("training.tsv", "validation.tsv")

A new set is a line in BUILT_IN.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from minillm.data.cmudict import CMUDict
from minillm.data.digits import Digits
from minillm.data.docstrings import Docstrings
from minillm.data.files import STANDARD_INPUT
from minillm.data.labelled import LabelledData
from minillm.data.numbers import Numbers
from minillm.data.pairs import PairData, PairFile
from minillm.data.python_texts import builtin_corpus, standard_library
from minillm.data.squad import SquadFile
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
    BuiltIn("python-docs", "text", builtin_corpus),
    BuiltIn("python-source", "text", standard_library),
    BuiltIn(
        "cmudict",
        "pairs",
        lambda stress: CMUDict(stress=stress is not None),
        pattern="cmudict(-stress)?",
        units=("character", "token"),
        task="pronunciation",
    ),
    BuiltIn("numbers-XX-YY", "pairs", Numbers, pattern=r"numbers-(\w+)-(\w+)"),
    BuiltIn("docstrings", "pairs", cache(Docstrings), task="summary"),  # it takes seconds
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
    return built_in(name) or BuiltIn(name, "pairs", PairFile)


# --- opening -------------------------------------------------------------------------


def open_pairs(name: str, validation: str | None = None) -> PairData:
    """Pairs of texts from a built-in set, or from a file and a file to validate on."""
    return _open(name, "pairs", validation, PairFile)


def open_labelled(name: str, validation: str | None = None) -> LabelledData:
    """Labelled texts from a file or folder, and from one to validate on."""
    return _open(name, "labelled", validation, LabelledData)


def open_questions(name: str, validation: str | None = None) -> SquadFile:
    """Questions from a file of SQuAD, and from one to validate on."""
    return _open(name, "questions", validation, SquadFile)


def open_images(name: str) -> Digits:
    """A built-in set of images."""
    return _open(name, "images", None, None)


def _open(name: str, kind: str, validation: str | None, file: Callable[..., Any] | None) -> Any:
    """The built-in set of this name, or the result of ``file`` for the paths."""
    entry = built_in(name)
    if entry is None:
        if file is None:
            raise InputError(f"expected a set of {kind} ({names_of(kind)}), found {name}")
        if name == STANDARD_INPUT:
            raise InputError(f"standard input: expected a file, because {kind} are read repeatedly")
        return file(name, validation)
    if entry.kind != kind:
        raise InputError(f"{name}: expected {kind}, found a built-in set of kind {entry.kind!r}")
    if validation:
        raise InputError(f"expected none, as {name} has its own, found {validation}", "validation")
    match = entry.match(name)
    assert match is not None
    return entry.open(*match.groups())
