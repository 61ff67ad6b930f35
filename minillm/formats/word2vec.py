"""word2vec's files: word vectors, as text or binary.

Both formats begin with a line "V D".  In the text format a line follows for each
word: the word, a space, D numbers.  In the binary format each word is followed by
a space and D float32 numbers, the low byte first; a line's end before the next
word is optional.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import reading, replacing
from minillm.errors import InputError


def write_vectors(
    path: str | Path, words: Sequence[str], vectors: NDArray[np.float32], binary: bool = False
) -> None:
    """Write vectors (V, D).  InputError for a word with white space, which ends a word here.

    Text has 9 digits a number: in both formats the same float32 are read back.
    """
    for word in words:
        if not word or len(word.split()) != 1 or word != word.strip():
            raise InputError(f"{path}: a word must have no white space in it, found {word!r}")
    vectors = np.ascontiguousarray(vectors, "<f4")
    with replacing(path) as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, vector in zip(words, vectors, strict=True):
            if binary:
                file.write(word.encode() + b" " + vector.tobytes() + b"\n")
            else:
                numbers = " ".join([f"{x:.9g}" for x in vector.tolist()])
                file.write(f"{word} {numbers}\n".encode())


def read_vectors(path: str | Path) -> tuple[list[str], NDArray[np.float32]]:
    """Read either format, recognised by the second line: -> words, vectors (V, D).

    InputError, with the line or the word, where the file is not as the format demands.
    """
    with reading(path) as file:
        data = file.read()
    head, _, body = data.partition(b"\n")
    fields = head.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields) or b"0" in fields:
        raise InputError(
            f"{path}, line 1: expected the number of words and the vectors' length, "
            f"found {head[:60].decode('utf-8', 'replace')!r}"
        )
    V, D = map(int, fields)
    read = _read_text if _is_text(body, D) else _read_binary
    words, vectors = read(path, body, V, D)
    if len(set(words)) < V:
        twice = next(word for word, times in _counted(words).items() if times > 1)
        raise InputError(f"{path}: expected each word once, found {twice!r} again")
    if not np.isfinite(vectors).all():
        word = words[int(np.argmin(np.isfinite(vectors).all(axis=1)))]
        raise InputError(f"{path}: the vector of {word!r} has a number that is not finite")
    return words, vectors


def _counted(words: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def _is_text(body: bytes, D: int) -> bool:
    fields = body[: body.find(b"\n") if b"\n" in body else len(body)].split()
    try:
        return len([float(field) for field in fields[1:]]) == len(fields) - 1 > 0
    except ValueError:
        return False


def _read_text(
    path: str | Path, body: bytes, V: int, D: int
) -> tuple[list[str], NDArray[np.float32]]:
    lines = body.split(b"\n")
    if not lines[-1].strip():
        lines.pop()
    words, vectors = [], np.empty((V, D), np.float32)
    for number, line in enumerate(lines, start=2):
        word, *fields = line.split(b" ")
        fields = [field for field in fields if field.strip()]
        if number - 2 >= V:
            raise InputError(f"{path}, line {number}: expected the end after {V} words")
        if len(fields) != D:
            raise InputError(
                f"{path}, line {number}: expected a word and {D} numbers, found {len(fields)}"
            )
        try:
            vectors[number - 2] = [float(field) for field in fields]
        except ValueError:
            raise InputError(f"{path}, line {number}: expected {D} numbers") from None
        words.append(_decoded(word, f"{path}, line {number}"))
    if len(words) < V:
        raise InputError(f"{path}: expected {V} words, found {len(words)}")
    return words, vectors


def _read_binary(
    path: str | Path, body: bytes, V: int, D: int
) -> tuple[list[str], NDArray[np.float32]]:
    words, vectors, at = [], np.empty((V, D), np.float32), 0
    for k in range(V):
        space = body.find(b" ", at)
        if space < 0 or len(body) < space + 1 + 4 * D:
            raise InputError(
                f"{path}: it ends within word {k + 1} of {V}: expected at least "
                f"{4 * D * (V - k):,} more bytes, found {len(body) - at:,}"
            )
        words.append(_decoded(body[at:space].lstrip(b"\n"), f"{path}, word {k + 1}"))
        vectors[k] = np.frombuffer(body, "<f4", D, space + 1)
        at = space + 1 + 4 * D
    if body[at:].strip(b"\n"):
        raise InputError(
            f"{path}: expected the end after {V} words, found {len(body) - at:,} bytes"
        )
    return words, vectors


def _decoded(word: bytes, place: str) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise InputError(f"{place}: expected a word in UTF-8, found {word[:40]!r}") from None
