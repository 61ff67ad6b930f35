"""Files of lines, streamed: one line at a time, each with its number, none kept."""

import sys
from collections.abc import Iterator
from pathlib import Path

from minillm.errors import InputError

STANDARD_INPUT = "-"


def read_lines(path: str | Path) -> Iterator[tuple[str, str]]:
    """Each line of a UTF-8 file, without its end, and its place in words for an error.

    ``-`` is standard input.  InputError for a file that is missing, empty or binary, or a
    line that is not UTF-8.
    """
    name = "standard input" if str(path) == STANDARD_INPUT else str(path)
    try:
        file = sys.stdin.buffer if str(path) == STANDARD_INPUT else open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    number = 0
    with file:
        for number, data in enumerate(file, start=1):
            place = f"{name}, line {number}"
            if b"\0" in data:
                raise InputError(f"{place}: expected UTF-8 text, found a zero byte: a binary file")
            try:
                line = data.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{place}: expected UTF-8 text, found the byte 0x{data[error.start]:02x}"
                ) from None
            yield line.rstrip("\r\n"), place
    if number == 0:
        raise InputError(f"{name}: expected lines of text, found an empty file")
