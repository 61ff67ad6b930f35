"""Data passed as Python objects, written to files for the readers of data.

    text                given.txt
    sentences           given.txt: one per line, with spaces between words
    texts with labels   given.jsonl: {"text": ..., "label": ...}
    pairs               given.jsonl: {"source": ..., "target": ...}

A run has this file in its folder.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minillm.data.files import naming
from minillm.errors import DivergedError, InputError, short
from minillm.runs.folder import DATA_FILES
from minillm.runs.kind import Kind
from minillm.text.vocabulary import check_encodable

TEXT, LINES = DATA_FILES


@contextmanager
def written(
    kind: Kind,
    files: Any = None,
    text: str | None = None,
    sentences: Iterable[Sequence[str]] | None = None,
    texts: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
    pairs: Iterable[tuple[str, str]] | None = None,
) -> Iterator[Path | None]:
    """Write the data that are given, if not in files, to a temporary file, and yield its path.

    InputError unless the kind takes such data, and one sort of them is given.  Errors in the block
    name the argument, not the file.
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
    pieces: Iterable[str]
    if text is not None:
        file, pieces = TEXT, [_text(text, "text")]
    elif sentences is not None:
        file, pieces = TEXT, map(_sentence, _list(sentences, "sentences"))
    elif texts is not None and labels is not None:
        named = [{"text": t, "label": str(l)} for t, l in _zipped(texts, labels)]
        file, pieces = LINES, map(_json, named)
    elif pairs is not None:
        named = [{"source": s, "target": t} for s, t in map(_pair, _list(pairs, "pairs"))]
        file, pieces = LINES, map(_json, named)
    else:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file)
        with named_as({path: names[0].replace("labels", "texts")}):
            yield _written(path, pieces)


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


def _written(path: Path, pieces: Iterable[str]) -> Path:
    with naming(path), open(path, "w", encoding="utf-8", newline="") as file:
        file.writelines(pieces)
    return path


def _json(values: dict[str, str]) -> str:
    for name, value in values.items():
        _text(value, name)
    return json.dumps(values, ensure_ascii=False) + "\n"


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name}: expected a text, found {short(value)}")
    check_encodable(value, name)
    return value


def _list(values: Iterable[Any], name: str) -> list[Any]:
    if isinstance(values, str):
        raise InputError(f"{name}: expected a list, found a text")
    return list(values)


def _zipped(texts: Iterable[str], labels: Iterable[str]) -> list[tuple[str, str]]:
    both = _list(texts, "texts"), _list(labels, "labels")
    if len(both[0]) != len(both[1]):
        raise InputError(
            f"labels: expected {len(both[0])}, one for each text, found {len(both[1])}"
        )
    return list(zip(*both, strict=True))


def _pair(values: Sequence[str]) -> tuple[str, str]:
    if isinstance(values, str) or len(values) != 2:
        raise InputError(f"pairs: expected (source, target), found {short(values)}")
    source, target = values
    return source, target


def _sentence(words: Sequence[str]) -> str:
    if isinstance(words, str):
        raise InputError(f"sentences: expected lists of words, found a text: {short(words)}")
    for word in words:
        if _text(word, "sentences").split() != [word]:
            raise InputError(f"sentences: expected a word without white space, found {short(word)}")
    return " ".join(words) + "\n"
