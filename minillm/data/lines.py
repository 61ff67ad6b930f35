"""Files of lines and of JSON lines, read one line at a time."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from minillm.data.compressed import decompressed
from minillm.data.entries import entry
from minillm.data.files import bounded_lines, json_object, reading, shown
from minillm.errors import InputError


def read_lines(path: str | Path, regular: bool = False) -> Iterator[tuple[str, str]]:
    """Each line of a UTF-8 file, without its end, and its place for error messages.

    ``-`` is standard input, and a compressed file is read as its contents; regular: see
    :func:`reading`.  InputError for a file that is missing,
    empty or binary, or a line that is not UTF-8 or longer than LONGEST_LINE.
    """
    with reading(path, regular) as stored, decompressed(stored, shown(path)) as file:
        yield from lines_of(file, shown(path))


def lines_of(file: BinaryIO, name: str) -> Iterator[tuple[str, str]]:
    """Each line of an open file, as :func:`read_lines`."""
    number = 0
    for number, data in enumerate(bounded_lines(file, name), start=1):
        place = f"{name}, line {number}"
        yield text_of(data, place, first=number == 1), place
    if number == 0:
        raise InputError(f"{name}: expected lines of text, found an empty file")


def text_of(data: bytes, place: str, first: bool) -> str:
    """The text of a line, without its end; the first one may begin with a byte order mark.

    InputError unless it is UTF-8.
    """
    if b"\0" in data:
        raise InputError(f"{place}: expected UTF-8 text, found a zero byte: a binary file")
    try:
        return data.decode("utf-8-sig" if first else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: expected UTF-8 text, found the byte 0x{data[error.start]:02x}"
        ) from None


def is_json_lines(path: str | Path) -> bool:
    """Whether a file has JSON lines, by its name: ``x.jsonl``, which may be compressed."""
    return re.search(r"\.jsonl(\.gz|\.zst)?$", str(path)) is not None


def is_table(path: str | Path) -> bool:
    """Whether a file has two texts with a tab between in each line, by its name: ``x.tsv``."""
    return re.search(r"\.tsv(\.gz|\.zst)?$", str(path)) is not None


def has_summaries(path: str | Path) -> bool:
    """Whether a table has texts before their summaries: labels are shorter than their texts."""
    rows = (
        [line.partition("\t") for line, _ in islice(read_lines(path), 100)]
        if is_table(path)
        else []
    )
    return sum(len(first) for first, _, _ in rows) > sum(len(second) for _, _, second in rows)


def read_objects(path: str | Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The object in each line of a file of JSON lines that is not blank, and its place."""
    for line, place in read_lines(path):
        if line.strip():
            yield json_object(line, place), place


def read_rows(
    path: str | Path, names: tuple[str, str], several: bool = False
) -> Iterator[tuple[str, str, str]]:
    """The two texts in each line of a file, and its place.

    Of JSON lines they are the entries ``names``, of any other file the texts before and after a
    tab.  ``several``: the second entry may be a list of texts, each of which makes a row.
    InputError names the line in which one of them is missing.
    """
    if not is_json_lines(path):
        for line, place in read_lines(path):
            first, tab, second = line.partition("\t")
            if not tab:
                raise InputError(f"{place}: expected {'<TAB>'.join(names)}, found no tab")
            yield first, second, place
        return
    for values, place in read_objects(path):
        first, found = entry(values, names[0], str, place), values.get(names[1])
        if found == [] and several:
            raise InputError(f"{place}: {names[1]}: expected a text or more, found none")
        for text in found if several and isinstance(found, list) else [found]:
            yield first, entry({names[1]: text}, names[1], str, place), place
