"""The built-in data sets: the one place that knows their names.

A built-in set is opened by its name, other data by their path:

    open_text([])                              the text that comes with Python
    open_pairs("numbers-en-fr")
    open_pairs("training.tsv", "validation.tsv")

What a set needs is imported when it is opened: the names cost nothing.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from minillm.data.files import STANDARD_INPUT
from minillm.errors import InputError

if TYPE_CHECKING:
    from minillm.data.digits import Digits
    from minillm.data.labelled import LabelledData
    from minillm.data.pairs import PairData
    from minillm.data.squad import QuestionData
    from minillm.data.streams import TextStream


@dataclass(frozen=True)
class BuiltIn:
    """A data set with a name, or a family of them."""

    name: str  # as help texts show it
    kind: str  # "text", "pairs", "labelled", "questions" or "images"
    help: str
    open: Callable[..., Any]  # takes what the groups of the pattern matched
    pattern: str = ""  # of a family: a regular expression that matches its names
    units: tuple[str, str] = ("word", "word")  # the tokens that suit the two sides of pairs
    task: str = "translation"  # of pairs: "pronunciation", "translation" or "summary"

    def match(self, name: str) -> re.Match[str] | None:
        """The match if ``name`` is this set, or one of this family."""
        return re.fullmatch(self.pattern or re.escape(self.name), name)


def _python_docs() -> str:
    from minillm.data.corpora import builtin_corpus

    return builtin_corpus()


def _python_source() -> str:
    from minillm.data.corpora import standard_library

    return standard_library()


def _cmudict(stress: str | None) -> "PairData":
    from minillm.data.cmudict import CMUDict

    return CMUDict(stress=stress is not None)


def _numbers(source: str, target: str) -> "PairData":
    from minillm.data.numbers import Numbers

    return Numbers(source, target)


def _docstrings() -> "PairData":
    from minillm.data.docstrings import Docstrings

    return Docstrings()


@cache  # it takes a while to read all of their source
def _docstring_questions() -> "QuestionData":
    from minillm.data.docstring_questions import DocstringQuestions

    return DocstringQuestions()


def _digits() -> "Digits":
    from minillm.data.digits import Digits

    return Digits()


BUILT_IN = (
    BuiltIn(
        "python-docs",
        "text",
        "the Python language reference, which every CPython has: 0.5 MB of English",
        _python_docs,
    ),
    BuiltIn(
        "python-source",
        "text",
        "the source of Python's standard library, without tests: some 10 MB",
        _python_source,
    ),
    BuiltIn(
        "cmudict",
        "pairs",
        "English words to their phonemes; cmudict-stress marks the stressed vowels",
        _cmudict,
        pattern="cmudict(-stress)?",
        units=("character", "token"),
        task="pronunciation",
    ),
    BuiltIn(
        "numbers-XX-YY",
        "pairs",
        "numbers in words, from language XX to YY, as numbers-en-fr",
        _numbers,
        pattern=r"numbers-(\w+)-(\w+)",
    ),
    BuiltIn(
        "docstrings",
        "pairs",
        "the body of a docstring to its summary line",
        _docstrings,
        task="summary",
    ),
    BuiltIn(
        "docstring-questions",
        "questions",
        "about functions of Python and NumPy, answered by their docstrings",
        _docstring_questions,
    ),
    BuiltIn("digits", "images", "handwritten digits of 8 by 8 pixels, with captions", _digits),
)
DEFAULT_TEXT = BUILT_IN[0].name
DEFAULT_QUESTIONS = "docstring-questions"


# --- names ---------------------------------------------------------------------------


def built_in(name: str) -> BuiltIn | None:
    """The built-in set of this name, or None: then it is a path."""
    return next((entry for entry in BUILT_IN if entry.match(name)), None)


def absolute(name: str) -> str:
    """The path from the root, which holds in any folder; the name of a built-in set stays."""
    return name if name == STANDARD_INPUT or built_in(name) else os.path.realpath(name)


def names_of(kind: str) -> str:
    """The names of the built-in sets of a kind, with commas between them."""
    return ", ".join(entry.name for entry in BUILT_IN if entry.kind == kind)


def help_of(kind: str) -> str:
    """A line for each built-in set of a kind: its name, and what it is."""
    entries = [entry for entry in BUILT_IN if entry.kind == kind]
    width = max((len(entry.name) for entry in entries), default=0)
    return "\n".join(f"  {entry.name:{width}}  {entry.help}" for entry in entries)


def default_units(name: str) -> tuple[str, str]:
    """The tokens, source and target, that suit a set of pairs; words for those of a file."""
    entry = built_in(name)
    return entry.units if entry else BuiltIn.units


def task_of(name: str) -> str:
    """The task, which decides on the measures, of a set of pairs; translation for a file."""
    entry = built_in(name)
    return entry.task if entry else BuiltIn.task


# --- opening -------------------------------------------------------------------------


def open_text(names: Sequence[str]) -> "TextStream":
    """A text from files, built-in texts and standard input; python-docs if there are no names."""
    from minillm.data.streams import TextStream

    return TextStream(names)


def open_pairs(name: str, validation: str | None = None) -> "PairData":
    """Pairs of texts from a built-in set, or from a file and a file to validate on."""
    from minillm.data.pairs import PairFile

    own = _open(name, "pairs")
    if own is not None and validation:
        raise InputError(f"validation: expected none, as {name} has its own, found {validation}")
    if name == STANDARD_INPUT:
        raise InputError("standard input: expected a file, as pairs are read more than once")
    return own if own is not None else PairFile(name, validation)


def open_labelled(name: str, validation: str | None = None) -> "LabelledData":
    """Labelled texts from a file or folder, and from one to validate on."""
    from minillm.data.labelled import LabelledData

    own = _open(name, "labelled")
    if name == STANDARD_INPUT:
        raise InputError("standard input: expected a file or folder, as texts are read repeatedly")
    return own if own is not None else LabelledData(name, validation)


def open_questions(name: str, validation: str | None = None) -> "QuestionData":
    """Questions from a built-in set, or from a file of SQuAD and a file to validate on."""
    from minillm.data.squad import SquadFile

    own = _open(name, "questions")
    if own is not None and validation:
        raise InputError(f"validation: expected none, as {name} has its own, found {validation}")
    if name == STANDARD_INPUT:
        raise InputError("standard input: expected a file, as questions are read more than once")
    return own if own is not None else SquadFile(name, validation)


def open_images(name: str) -> "Digits":
    """A built-in set of images."""
    own = _open(name, "images")
    if own is None:
        raise InputError(f"{name}: expected a set of images ({names_of('images')})")
    return own


def _open(name: str, kind: str) -> Any:
    """The built-in set of this name, or None.  InputError if it is of another kind."""
    entry = built_in(name)
    if entry is None:
        return None
    if entry.kind != kind:
        raise InputError(f"{name}: expected {kind}, found a built-in set of kind {entry.kind!r}")
    match = entry.match(name)
    return entry.open(*match.groups()) if match else None
