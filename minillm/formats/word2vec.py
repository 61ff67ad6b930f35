"""word2vec's files: word vectors, as text or binary.

Both formats begin with a line "V D".  In the text format a line follows for each
word: the word, a space, D numbers.  In the binary format each word is followed by
a space and D float32 numbers, the low byte first; a line's end before the next
word is optional.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import LONGEST_LINE, bounded_lines, reading, replacing, seekable
from minillm.errors import InputError, short

WIDEST = 65536  # numbers in a vector
LONGEST_WORD = 1 << 20  # bytes


def write_vectors(
    path: str | Path, words: Sequence[str], vectors: NDArray[np.float32], binary: bool = False
) -> None:
    """Write vectors (V, D).  InputError for a word with white space, which ends a word here.

    Text has 9 digits a number: in both formats the same float32 are read back.
    """
    for word in words:
        if not word or len(word.split()) != 1 or word != word.strip():
            raise InputError(f"{path}: expected words without white space, found {word!r}")
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

    InputError, with the line or the word, where the file is not as the format demands.  Memory
    is taken for what the file holds, not for what its first line says.
    """
    with reading(path) as opened:
        file = seekable(opened, str(path))
        V, D = _sizes(path, file.readline(100))
        start = file.tell()
        read = _read_text if _is_text(file.readline(LONGEST_LINE)) else _read_binary
        file.seek(start)
        words, vectors = read(path, file, V, D)
    if len(set(words)) < V:
        twice = next(word for word, times in _counted(words).items() if times > 1)
        raise InputError(f"{path}: expected each word once, found {short(twice)} again")
    if not np.isfinite(vectors).all():
        word = words[int(np.argmin(np.isfinite(vectors).all(axis=1)))]
        raise InputError(f"{path}: the vector of {short(word)} has a number that is not finite")
    return words, vectors


def _sizes(path: str | Path, head: bytes) -> tuple[int, int]:
    fields = head.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) <= 12 for field in fields):
        V = D = 0
    else:
        V, D = map(int, fields)
    if V < 1 or not 1 <= D <= WIDEST:
        raise InputError(
            f"{path}, line 1: expected the number of words and the vectors' length, to {WIDEST}, "
            f"found {head[:60].decode('utf-8', 'replace')!r}"
        )
    return V, D


def _counted(words: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def _is_text(line: bytes) -> bool:
    fields = line.split()
    try:
        return len([float(field) for field in fields[1:]]) == len(fields) - 1 > 0
    except ValueError:
        return False


def _read_text(
    path: str | Path, file: BinaryIO, V: int, D: int
) -> tuple[list[str], NDArray[np.float32]]:
    words: list[str] = []
    numbers = array("f")
    for number, line in enumerate(bounded_lines(file, str(path), start=2), start=2):
        if len(words) == V:
            if not line.strip():
                continue
            raise InputError(f"{path}, line {number}: expected the end after {V} words")
        word, *fields = line.split(b" ")
        fields = [field for field in fields if field.strip()]
        if len(fields) != D:
            raise InputError(
                f"{path}, line {number}: expected a word and {D} numbers, found {len(fields)}"
            )
        try:
            numbers.extend([float(field) for field in fields])
        except ValueError:
            raise InputError(f"{path}, line {number}: expected {D} numbers") from None
        words.append(_decoded(word, f"{path}, line {number}"))
    if len(words) < V:
        raise InputError(f"{path}: expected {V} words, found {len(words)}")
    return words, np.frombuffer(numbers, np.float32).reshape(V, D)


def _read_binary(
    path: str | Path, file: BinaryIO, V: int, D: int
) -> tuple[list[str], NDArray[np.float32]]:
    words, numbers, data, at = [], bytearray(), b"", 0
    for k in range(V):
        while (space := data.find(b" ", at)) < 0 or len(data) < space + 1 + 4 * D:
            more = file.read(1 << 20)
            if not more:
                raise InputError(
                    f"{path}: it ends within word {k + 1} of {V}: expected at least "
                    f"{4 * D * (V - k):,} more bytes, found {len(data) - at:,}"
                )
            if space < 0 and len(data) - at > LONGEST_WORD:
                raise InputError(f"{path}, word {k + 1}: expected a space after the word")
            data, at = data[at:] + more, 0
        words.append(_decoded(data[at:space].lstrip(b"\n"), f"{path}, word {k + 1}"))
        at = space + 1 + 4 * D
        numbers += data[space + 1 : at]
    if data[at:].strip(b"\n") or file.read(1 << 20).strip(b"\n"):
        raise InputError(f"{path}: expected the end after {V} words, found more")
    return words, np.frombuffer(numbers, "<f4").astype(np.float32, copy=False).reshape(V, D)


def _decoded(word: bytes, place: str) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise InputError(f"{place}: expected a word in UTF-8, found {word[:40]!r}") from None
