"""Files of lines, read one line at a time: none is kept in memory."""

from collections.abc import Iterator
from pathlib import Path

from minillm.data.files import bounded_lines, reading, shown
from minillm.errors import InputError


def read_lines(path: str | Path) -> Iterator[tuple[str, str]]:
    """Each line of a UTF-8 file, without its end, and its place as an error names it.

    ``-`` is standard input.  InputError for a file that is missing, empty or binary, or a
    line that is not UTF-8 or longer than LONGEST_LINE.
    """
    name, number = shown(path), 0
    with reading(path) as file:
        for number, data in enumerate(bounded_lines(file, name), start=1):
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
