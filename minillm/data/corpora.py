"""Whole texts: from UTF-8 files, standard input, or the text that comes with Python."""

import sysconfig
from collections.abc import Sequence
from pathlib import Path

from minillm.data.files import reading, shown
from minillm.data.registry import DEFAULT_TEXT, built_in
from minillm.errors import InputError

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


def read_text(names: Sequence[str]) -> str:
    """The texts of all ``names``, one after the other, each ending with a line's end.

    A name is a path, ``-`` for standard input, or a built-in text; no names: python-docs.
    Line ends become ``\\n`` and a byte order mark is dropped.  InputError names a file that is
    missing, empty, binary or not UTF-8.
    """
    return "".join(_read_one(name) for name in names or [DEFAULT_TEXT])


def _read_one(path: str) -> str:
    entry = built_in(path)
    if entry is not None and entry.kind == "text":
        return entry.open()
    with reading(path) as file:
        data = file.read()
    name = shown(path)
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
    """The Python language reference that comes with CPython: about 0.5 MB of English.

    It is ``pydoc_data.topics``, which ``help("while")`` prints from: its topics in the order of
    their names.  It differs a little from one version of Python to the next.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            f"{DEFAULT_TEXT}: this Python has no pydoc_data.topics: expected a text FILE"
        ) from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def standard_library() -> str:
    """The source of the standard library: its .py files in the order of their paths.

    Without tests and installed packages.  A file that is not UTF-8 is left out.  It differs from
    one version of Python to the next.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    texts = []
    for path in sorted(root.rglob("*.py")):
        if _LEFT_OUT.isdisjoint(path.relative_to(root).parts):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            texts.append(text if text.endswith("\n") else text + "\n")
    if not texts:
        raise InputError(f"python-source: there are no .py files in {root}: expected a text FILE")
    return "\n".join(texts)


def split_text(text: str) -> tuple[str, str]:
    """The first nine tenths, for training, and the last tenth, for validation."""
    cut = len(text) * 9 // 10
    return text[:cut], text[cut:]
