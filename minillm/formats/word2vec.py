"""word2vec's files, and GloVe's: word vectors, as text or binary.

Both formats begin with a line "V D".  In the text format each word has a line: the
word, a space, D numbers.  In the binary format, which is only read, each word is followed by a
space and D little-endian float32 numbers; a line's end before the next word is optional.

GloVe's files are the text format without its first line (Pennington, Socher and Manning 2014,
"GloVe: global vectors for word representation").  All are read, compressed or not.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from minillm.data.compressed import decompressed
from minillm.data.files import LONGEST_LINE, bounded_lines, reading, replacing, seekable
from minillm.errors import InputError, short
from minillm.formats.format import Contents, Format
from minillm.models.word2vec import Word2Vec, Word2VecConfig

WIDEST = 65536  # numbers in a vector
LONGEST_WORD = 1 << 20  # bytes


def write_vectors(path: str | Path, words: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Write vectors (V, D) as text.  InputError for a word with white space, which would end it.

    Numbers have 9 digits, enough to read back the same float32.
    """
    for word in words:
        if not word or len(word.split()) != 1 or word != word.strip():
            raise InputError(f"{path}: expected words without white space, found {word!r}")
    with replacing(path) as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, vector in zip(words, vectors, strict=True):
            numbers = " ".join([f"{x:.9g}" for x in vector.tolist()])
            file.write(f"{word} {numbers}\n".encode())


def read_vectors(path: str | Path) -> tuple[list[str], NDArray[np.float32]]:
    """Read one of the formats, recognised by the first two lines: -> words, vectors (V, D).

    InputError, with the line or the word, if the file is not in the format.  The memory used does
    not depend on the first line, which may be damaged.
    """
    with reading(path) as opened, decompressed(opened, str(path)) as plain:
        file = seekable(plain, str(path))
        head = file.readline(LONGEST_LINE)
        fields, start = head.split(), 0
        V: int | None
        read: Any = _read_text
        if _is_text(head) and len(fields) > 2:  # GloVe's
            V, D = None, len(fields) - 1
        else:
            sizes = fields if all(field.isdigit() and len(field) <= 12 for field in fields) else []
            V, D = map(int, sizes) if len(sizes) == 2 else (0, 0)
            if not V or not 1 <= D <= WIDEST:
                raise InputError(
                    f"{path}, line 1: expected the number of words and the vectors' length, to "
                    f"{WIDEST}, found {head[:60].decode('utf-8', 'replace')!r}"
                )
            start = file.tell()
            if not _is_text(file.readline(LONGEST_LINE)):
                read = _read_binary
        file.seek(start)
        words, vectors = read(path, file, V, D)
    if len(set(words)) < len(words):
        (twice, _), *_ = Counter(words).most_common(1)
        raise InputError(f"{path}: expected each word once, found {short(twice)} again")
    if not np.isfinite(vectors).all():
        word = words[int(np.argmin(np.isfinite(vectors).all(axis=1)))]
        raise InputError(f"{path}: {short(word)}: expected finite numbers, found others")
    return words, vectors


def _is_text(line: bytes) -> bool:
    fields = line.split()
    try:
        return len([float(field) for field in fields[1:]]) == len(fields) - 1 > 0
    except ValueError:
        return False


def _read_text(
    path: str | Path, file: BinaryIO, V: int | None, D: int
) -> tuple[list[str], NDArray[np.float32]]:
    """The words and vectors of lines: V of them, or if it is None all."""
    words: list[str] = []
    numbers, first = array("f"), 1 if V is None else 2
    for number, line in enumerate(bounded_lines(file, str(path), start=first), start=first):
        if V in (None, len(words)) and not line.strip():
            continue
        try:
            word, *fields = line.decode().split(" ")
            row = [float(field) for field in fields if field.strip()]
        except ValueError:
            row = []
        if len(row) != D or len(words) == V:
            raise InputError(
                f"{path}, line {number}: expected a word and {D} numbers"
                + (f", {V} times" if V else "")
                + f", found {short(line)}"
            )
        words.append(word)
        numbers.extend(row)
    if V is not None and len(words) < V:
        raise InputError(f"{path}: expected {V} words, found {len(words)}")
    return words, np.frombuffer(numbers, np.float32).reshape(len(words), D)


def _read_binary(
    path: str | Path, file: BinaryIO, V: int, D: int
) -> tuple[list[str], NDArray[np.float32]]:
    words, numbers = [], bytearray()
    for k in range(V):
        word = bytearray()
        while (byte := file.read(1)) not in (b"", b" ") and len(word) < LONGEST_WORD:
            word += byte
        row = file.read(4 * D)
        if byte != b" " or len(row) < 4 * D:
            raise InputError(
                f"{path}, word {k + 1} of {V}: expected a word, a space and {D} numbers of 4 "
                "bytes, found another end"
            )
        try:
            words.append(word.lstrip(b"\n").decode())
        except UnicodeDecodeError:
            raise InputError(f"{path}, word {k + 1}: expected UTF-8, found {short(word)}") from None
        numbers += row
    if file.read(1 << 20).strip(b"\n"):
        raise InputError(f"{path}: expected the end after {V} words, found more")
    return words, np.frombuffer(numbers, "<f4").astype(np.float32, copy=False).reshape(V, D)


def read(path: str | Path) -> Contents:
    """See :func:`read_vectors`.  The tokenizer is the words with their counts."""
    words, vectors = read_vectors(path)
    if len(words) < 2:
        raise InputError(f"{path}: expected 2 words or more, found {len(words)}")
    counts = np.arange(len(words), 0, -1)  # unknown: but the most frequent come first
    config = Word2VecConfig(vocabulary=len(words), dimension=vectors.shape[1])
    model = Word2Vec(config, counts)
    model.params["vectors"][:] = vectors
    return Contents(model, dict(zip(words, counts, strict=True)))


def write(contents: Contents, path: str | Path) -> None:
    """See :func:`write_vectors`."""
    write_vectors(path, contents.tokenizer.words, contents.model.params["vectors"])


def _recognises(path: Path, head: bytes) -> bool:
    """Whether the first line is two numbers, or a word and several numbers."""
    line, end, _ = head.partition(b"\n")
    fields = line.split()
    if len(fields) == 2:
        return all(field.isdigit() for field in fields)
    whole = fields if end else fields[:-1]
    return len(whole) > 2 and _is_text(b" ".join(whole))


FORMATS = (
    Format(
        name="word2vec",
        models=(Word2Vec,),
        read=read,
        write=write,
        recognises=_recognises,
        default="vectors.txt",
        signature="word vectors of word2vec or GloVe",
    ),
)
