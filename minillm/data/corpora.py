"""Reading text: any number of UTF-8 files, standard input, or the corpus inside every Python."""

import sys
from collections.abc import Sequence
from pathlib import Path

from minillm.errors import InputError

STANDARD_INPUT = "-"


def read_text(paths: Sequence[str]) -> str:
    """The texts of all ``paths`` in a row, each ending with a line's end; ``-`` is standard input.

    Line ends become ``\\n`` and a byte order mark is dropped.  InputError names a file that is
    missing, empty, binary or not UTF-8.
    """
    return "".join(_read_one(path) for path in paths)


def _read_one(path: str) -> str:
    name = "standard input" if path == STANDARD_INPUT else str(path)
    try:
        data = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    if not data.strip():
        raise InputError(f"{name}: expected text, found an empty file")
    if b"\0" in data:
        raise InputError(
            f"{name}: expected UTF-8 text, found a binary file (a zero at byte {data.index(0)})"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}, line {line}: expected UTF-8 text, found the byte "
            f"0x{data[error.start]:02x} (at byte {error.start})"
        ) from None
    text = text.replace("\r\n", "\n")
    return text if text.endswith("\n") else text + "\n"


def builtin_corpus() -> str:
    """The Python language reference that ships with CPython: about 0.5 MB of English.

    It is ``pydoc_data.topics``, what ``help("while")`` prints from, its topics in the order of
    their names.  It differs a little from one version of Python to the next.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            "the built-in corpus: this Python has no pydoc_data.topics; give a text FILE"
        ) from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def split_text(text: str) -> tuple[str, str]:
    """The first nine tenths, for training, and the last tenth, for validation."""
    cut = len(text) * 9 // 10
    return text[:cut], text[cut:]
