"""Data passed as Python objects.

They are measured on as they are.  A run that is trained on them has them in its folder, in a file
that the readers of data can read:

    text                given.txt
    sentences           given.txt: one per line, with spaces between words
    texts with labels   given.jsonl: {"text": ..., "label": ...}
    pairs               given.jsonl: {"source": ..., "target": ...}
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from minillm.data.files import naming
from minillm.data.labelled import labelled_text
from minillm.data.pairs import pair_of
from minillm.errors import DivergedError, InputError, short
from minillm.runs.folder import DATA_FILES
from minillm.runs.kind import Given, Kind
from minillm.unicode import check_encodable

TEXT, LINES = DATA_FILES

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class PythonData:
    """Data of one sort: a text, or rows of two texts."""

    argument: str  # its name: "text", "sentences", "labels" or "pairs"
    text: str = ""
    rows: tuple[tuple[str, str], ...] = ()  # (text, label) or (source, target)

    def given(self) -> Given:
        """The data to measure on; errors name the argument and the line in a file."""
        places = [f"{self._name}, line {number}" for number in range(1, len(self.rows) + 1)]
        rows = list(zip(self.rows, places, strict=True))
        if self.argument == "labels":
            return Given(labelled=[labelled_text(l, t, place) for (t, l), place in rows])
        if self.argument == "pairs":
            return Given(pairs=[pair_of(*row, place) for row, place in rows])
        return Given(text=self.text)

    @contextmanager
    def stored(self) -> Iterator[Path]:
        """Write the data to a file in a temporary folder; errors in the block name the argument."""
        first, second = ("text", "label") if self.argument == "labels" else ("source", "target")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, LINES if self.argument in ("labels", "pairs") else TEXT)
            with named_as({path: self._name}):
                objects = ({first: row[0], second: row[1]} for row in self.rows)
                lines = (json.dumps(values, ensure_ascii=False) + "\n" for values in objects)
                write_pieces(path, lines if path.name == LINES else [self.text])
                yield path

    @property
    def _name(self) -> str:
        return self.argument.replace("labels", "texts")


def python_data(
    kind: Kind,
    files: object = None,
    text: str | None = None,
    sentences: Iterable[Sequence[str]] | None = None,
    texts: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
    pairs: Iterable[tuple[str, str]] | None = None,
) -> PythonData | None:
    """The data that are given, if not in files.

    InputError unless the kind takes such data, and at most one sort of them is given.
    """
    if (texts is None) != (labels is None):
        raise InputError("expected texts=[...] and labels=[...] together, found one of them")
    sorts = {"text": text, "sentences": sentences, "labels": labels, "pairs": pairs, "files": files}
    names = [name for name, value in sorts.items() if value is not None]
    if len(names) > 1:
        raise InputError(f"expected data of one sort, found {' and '.join(names)}")
    if names and names[0] not in (*kind.takes, "files"):
        known = [f"{'texts, ' * (name == 'labels')}{name}" for name in kind.takes]
        raise InputError(
            f"{names[0]}: a run of {kind.name} takes its data as {' or '.join((*known, 'files'))}"
        )
    if text is not None:
        return PythonData("text", text=_text(text, "text"))
    if sentences is not None:
        return PythonData("sentences", "".join(map(_sentence, _list(sentences, "sentences"))))
    if texts is not None and labels is not None:
        return PythonData("labels", rows=tuple(_labelled(texts, labels)))
    if pairs is not None:
        return PythonData("pairs", rows=tuple(map(_pair, _list(pairs, "pairs"))))
    return None


@contextmanager
def named_as(names: Mapping[str | Path, str]) -> Iterator[None]:
    """Errors in the block have these names, or none, in the place of temporary paths."""
    try:
        yield
    except (InputError, DivergedError) as error:
        message = str(error)
        for path, name in names.items():
            if isinstance(path, Path):  # messages have the real path, too
                message = message.replace(os.path.realpath(path), name)
            message = message.replace(str(path), name)
        raise type(error)(message) from None


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Write a text to a file in pieces; an error names the file."""
    with naming(path), open(path, "w", encoding="utf-8", newline="") as file:
        file.writelines(pieces)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name}: expected a text, found {short(value)}")
    check_encodable(value, name)
    return value


def _list(values: Iterable[Entry], name: str) -> list[Entry]:
    if isinstance(values, str):
        raise InputError(f"{name}: expected a list, found a text")
    return list(values)


def _labelled(texts: Iterable[str], labels: Iterable[str]) -> Iterator[tuple[str, str]]:
    read, names = _list(texts, "texts"), _list(labels, "labels")
    if len(read) != len(names):
        raise InputError(f"labels: expected {len(read)}, one for each text, found {len(names)}")
    for text, label in zip(read, names, strict=True):
        yield _text(text, "text"), _text(str(label), "label")


def _pair(values: Sequence[str]) -> tuple[str, str]:
    if isinstance(values, str) or len(values) != 2:
        raise InputError(f"pairs: expected (source, target), found {short(values)}")
    return _text(values[0], "source"), _text(values[1], "target")


def _sentence(words: Sequence[str]) -> str:
    if isinstance(words, str):
        raise InputError(f"sentences: expected lists of words, found a text: {short(words)}")
    for word in words:
        if _text(word, "sentences").split() != [word]:
            raise InputError(f"sentences: expected a word without white space, found {short(word)}")
    return " ".join(words) + "\n"
