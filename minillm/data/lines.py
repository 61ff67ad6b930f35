"""Files of lines, of JSON lines and of columns, read one line at a time."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from minillm.data.compressed import decompressed
from minillm.data.files import bounded_lines, from_json, reading, shown
from minillm.errors import InputError


def read_lines(path: str | Path, regular: bool = False) -> Iterator[tuple[str, str]]:
    """Each line of a UTF-8 file, without its end, and its place for error messages.

    ``-`` is standard input, and a compressed file is read as its contents; regular: see
    :func:`reading`.  InputError for a file that is missing, empty or binary, or a line that is not
    UTF-8 or longer than LONGEST_LINE.
    """
    with reading(path, regular) as stored, decompressed(stored, shown(path)) as file:
        yield from lines_of(file, shown(path))


def lines_of(file: BinaryIO, name: str) -> Iterator[tuple[str, str]]:
    """Each line of an open file, as :func:`read_lines`."""
    number = 0
    for number, data in enumerate(bounded_lines(file, name), start=1):
        yield decoded(data, name, number).rstrip("\r\n"), f"{name}, line {number}"
    if number == 0:
        raise InputError(f"{name}: expected lines of text, found an empty file")


def decoded(data: bytes, name: str, line: int) -> str:
    """The text of bytes from some line of a file on; the first may begin with a byte order mark.

    InputError names the line that is not UTF-8.
    """
    at, found = data.find(b"\0"), "a zero byte: a binary file"
    try:
        if at < 0:
            return data.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        at, found = error.start, f"the byte 0x{data[error.start]:02x}"
    line += data.count(b"\n", 0, at)
    raise InputError(f"{name}, line {line}: expected UTF-8 text, found {found}")


def is_json_lines(path: str | Path) -> bool:
    """Whether a file has JSON lines, by its name: ``x.jsonl``, which may be compressed."""
    return re.search(r"\.jsonl(\.gz)?$", str(path)) is not None


def read_objects(path: str | Path, form: Any) -> Iterator[tuple[Any, str]]:
    """The object in each line of JSON lines that is not blank, as a type, and its place."""
    for line, place in read_lines(path):
        if line.strip():
            yield from_json(line, place, form, strict=True), place


def read_columns(path: str | Path, *names: str) -> Iterator[tuple[list[str], str]]:
    """The columns of each line of a file, and its place.

    Of JSON lines they are the texts of these names, of any other file what stands between tabs.
    InputError names the line in which one is missing.
    """
    if is_json_lines(path):
        for row, place in read_objects(path, _row(names)):
            yield list(msgspec.structs.astuple(row)), place
        return
    for line, place in read_lines(path):
        columns = line.split("\t")
        if len(columns) != len(names):
            found = "no tab" if len(columns) == 1 else f"{len(columns) - 1} tabs"
            raise InputError(f"{place}: expected {'<TAB>'.join(names)}, found {found}")
        yield columns, place


@cache
def _row(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """The type of an object with texts of these names."""
    return msgspec.defstruct("Row", [(name, str) for name in names])
