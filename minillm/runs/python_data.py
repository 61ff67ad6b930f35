"""Data passed as Python objects.

They are written to a file that the readers of data can read; a run that is trained on them has it
in its folder:

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
from minillm.errors import DivergedError, InputError, short
from minillm.runs.folder import DATA_FILES
from minillm.runs.kind import Kind
from minillm.unicode import check_encodable

TEXT, LINES = DATA_FILES

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class PythonData:
    """The contents of a file, and the argument that it comes from."""

    argument: str  # "text", "sentences", "texts" or "pairs"
    pieces: list[str]

    @contextmanager
    def stored(self) -> Iterator[Path]:
        """Write the data to a file in a temporary folder; errors in the block name the argument."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, LINES if self.argument in ("texts", "pairs") else TEXT)
            with named_as({path: self.argument}):
                with naming(path), open(path, "w", encoding="utf-8", newline="") as file:
                    file.writelines(self.pieces)
                yield path


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
        takes = " or ".join((*known, "files"))
        raise InputError(f"a run of {kind.name} takes its data as {takes}", names[0])
    if text is not None:
        return PythonData("text", [_text(text, "text")])
    if sentences is not None:
        return PythonData("sentences", [*map(_sentence, _list(sentences, "sentences"))])
    if texts is not None and labels is not None:
        return PythonData("texts", [*_labelled(texts, labels)])
    if pairs is not None:
        return PythonData("pairs", [*map(_pair, _list(pairs, "pairs"))])
    return None


@contextmanager
def named_as(names: Mapping[str | Path, str]) -> Iterator[None]:
    """Errors in the block have these names, or none, in the place of temporary paths."""

    def named(text: str) -> str:
        for path, name in names.items():
            if isinstance(path, Path):  # messages have the real path, too
                text = text.replace(os.path.realpath(path), name)
            text = text.replace(str(path), name)
        return text

    try:
        yield
    except InputError as error:
        raise InputError(named(error.args[0]), error.field) from None
    except DivergedError as error:
        raise DivergedError(named(str(error))) from None


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"expected a text, found {short(value)}", name)
    check_encodable(value, name)
    return value


def _list(values: Iterable[Entry], name: str) -> list[Entry]:
    if isinstance(values, str):
        raise InputError("expected a list, found a text", name)
    return list(values)


def _labelled(texts: Iterable[str], labels: Iterable[str]) -> Iterator[str]:
    read, names = _list(texts, "texts"), _list(labels, "labels")
    if len(read) != len(names):
        raise InputError(f"expected {len(read)}, one for each text, found {len(names)}", "labels")
    for text, label in zip(read, names, strict=True):
        yield _line(text=_text(text, "text"), label=_text(str(label), "label"))


def _pair(values: Sequence[str]) -> str:
    if isinstance(values, str) or len(values) != 2:
        raise InputError(f"expected (source, target), found {short(values)}", "pairs")
    return _line(source=_text(values[0], "source"), target=_text(values[1], "target"))


def _line(**values: str) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"


def _sentence(words: Sequence[str]) -> str:
    if isinstance(words, str):
        raise InputError(f"expected lists of words, found a text: {short(words)}", "sentences")
    for word in words:
        if _text(word, "sentences").split() != [word]:
            raise InputError(
                f"expected a word without white space, found {short(word)}", "sentences"
            )
    return " ".join(words) + "\n"
