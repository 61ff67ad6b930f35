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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from minillm.errors import DivergedError, InputError, short
from minillm.runs.folder import DATA_FILES
from minillm.runs.kind import Kind
from minillm.unicode import check_encodable

TEXT, LINES = DATA_FILES

Entry = TypeVar("Entry")


@contextmanager
def python_data(
    kind: Kind,
    files: object = None,
    text: str | None = None,
    sentences: Iterable[Sequence[str]] | None = None,
    texts: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
    pairs: Iterable[tuple[str, str]] | None = None,
) -> Iterator[Path | None]:
    """A temporary file of the data that are given; None if they are in files, or there are none.

    InputErrors in the block name the argument.  InputError unless the kind takes such data, and at
    most one sort of them is given.
    """
    if isinstance(text, str) and os.path.isfile(text):
        raise InputError(f"expected a text, found the name of a file: use files={text!r}", "text")
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
        argument, pieces = "text", [_text(text, "text")]
    elif sentences is not None:
        argument, pieces = "sentences", [*map(_sentence, _list(sentences, "sentences"))]
    elif texts is not None and labels is not None:
        argument, pieces = "texts", [*_labelled(texts, labels)]
    elif pairs is not None:
        argument, pieces = "pairs", [*map(_pair, _list(pairs, "pairs"))]
    else:
        yield None
        return
    with TemporaryDirectory() as folder:
        name = LINES if argument in ("texts", "pairs") else TEXT
        path = Path(folder).resolve() / name
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        with named_as({str(path): argument}):
            yield path


@contextmanager
def named_as(names: Mapping[str, str]) -> Iterator[None]:
    """Errors in the block have these names, or none, in the place of temporary paths."""
    try:
        yield
    except (InputError, DivergedError) as error:
        for path, name in names.items():
            error.args = (error.args[0].replace(path, name),)
        raise


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
