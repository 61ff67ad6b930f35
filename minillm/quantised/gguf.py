"""GGUF files, in which llama.cpp stores a model: metadata by name, then tensors.

    4 bytes    GGUF
    4 bytes    the version, 3
    8, 8       the number of tensors, the number of entries
    entries    for each, a name, the number of its kind of value, the value
    tensors    for each, a name, the number of its dimensions, the dimensions (the innermost first),
               the number of its type, and its offset in the data
    data       for each tensor, from a multiple of the alignment, which is 32 bytes by default

All numbers are little-endian, and a text is its length (8 bytes) and its bytes in UTF-8.
:mod:`minillm.quantised.blocks` explains the types of tensors.  A version 2 has the same form.

A tensor stays in the file until it is read, a few rows at a time, straight into its place.  So
loading needs hardly more memory than the weights.  A file is not mapped into memory:
:func:`minillm.data.files.fill` says why.

Source: ggml's ``docs/gguf.md`` (Gerganov et al. 2023).
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import fill, reading, replacing
from minillm.errors import InputError, short
from minillm.quantised.blocks import TYPES, Bytes, decode, encode

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32  # bytes
PIECE = 1 << 19  # numbers that are read or written at once
MOST_DIMENSIONS = 4

_NUMBERS = {  # kinds of values
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?",
    10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_TEXT, _ARRAY = 8, 9
_OF_DTYPE = {np.dtype(code): number for number, code in _NUMBERS.items()}

_BY_NUMBER = {known.number: known for known in TYPES.values()}


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor in a file, not read yet: rows (O, I), or one row (I,), of one type."""

    path: Path
    type: str  # a name of blocks.TYPES
    shape: tuple[int, ...]
    begin: int  # of its bytes in the file

    @property
    def rows(self) -> int:
        """The number of its rows."""
        return prod(self.shape[:-1])

    @property
    def nbytes(self) -> int:
        """The bytes of its numbers in the file."""
        return self.rows * TYPES[self.type].row_bytes(self.shape[-1])

    def pieces(self) -> Iterator[tuple[slice, Bytes]]:
        """Some rows at a time, and their bytes: (rows, bytes of a row).

        InputError if the file has been cut short since it was opened.
        """
        row_bytes = TYPES[self.type].row_bytes(self.shape[-1])
        with reading(self.path, regular=True) as file:
            for rows in _slices(self.rows, self.shape[-1]):
                piece = np.empty((rows.stop - rows.start, row_bytes), np.uint8)
                fill(piece, file, str(self.path), self.begin + rows.start * row_bytes)
                yield rows, piece

    def read(self) -> NDArray[np.float32]:
        """The tensor in float32, in memory."""
        array = np.empty((self.rows, self.shape[-1]), np.float32)
        for rows, piece in self.pieces():
            array[rows] = decode(piece, self.type)
        return array.reshape(self.shape)


def _slices(O: int, I: int) -> Iterator[slice]:
    """Parts of O rows of I numbers, of about PIECE numbers each, in multiples of 16 rows."""
    step = max(16, PIECE // I // 16 * 16)
    return (slice(row, min(O, row + step)) for row in range(0, O, step))


# --- reading -------------------------------------------------------------------------------------


def is_gguf(path: str | Path) -> bool:
    """Whether a path is a regular file that begins like one of this format."""
    if not Path(path).is_file():
        return False
    with suppress(InputError), reading(path) as file:
        return file.read(len(MAGIC)) == MAGIC
    return False


def open_gguf(path: str | Path) -> tuple[dict[str, Any], dict[str, GGUFTensor]]:
    """The metadata of a file, and its tensors by name, none of them read yet.

    A value is a number, a truth value, a text, a list of texts, or an array of numbers.

    InputError if the file is missing or damaged, or has types that cannot be read; every size is
    compared with the size of the file before memory is taken.
    """
    with reading(path, regular=True) as file:
        head = _Head(file, str(path))
        if (magic := head.take(4, "its first bytes")) != MAGIC:
            raise head.wrong("its first bytes", repr(MAGIC), magic)
        version = head.number("<u4", "version")
        if version not in (2, VERSION):
            raise head.wrong("version", "2 or 3, in a little-endian file", version)
        tensors, entries = head.number("<u8", "tensors"), head.number("<u8", "entries")
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            name = head.text("the name of an entry")
            if name in metadata:
                raise InputError(f"{path}: {short(name)}: expected one value, found two")
            metadata[name] = head.value(head.number("<u4", name), short(name))
        declared = {}
        for _ in range(tensors):
            name = head.text("the name of a tensor")
            if name in declared:
                raise InputError(f"{path}: {short(name)}: expected one tensor, found two")
            declared[name] = head.tensor(name)
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= 1 << 16 or alignment % 8:
            raise head.wrong("general.alignment", "a multiple of 8, at most 65,536", alignment)
        return metadata, _placed(head, declared, alignment)


def _placed(
    head: "_Head", declared: Mapping[str, tuple[str, tuple[int, ...], int]], alignment: int
) -> dict[str, GGUFTensor]:
    """The tensors; each begins where the one before it ends."""
    data, end, tensors = _aligned(head.at, alignment), 0, {}
    for name, (block_type, shape, offset) in declared.items():
        tensors[name] = tensor = GGUFTensor(Path(head.name), block_type, shape, data + offset)
        if offset != end:
            raise head.wrong(f"{short(name)}: offset", f"{end:,}", offset)
        if tensor.begin + tensor.nbytes > head.size:
            raise InputError(
                f"{head.name}: {short(name)}: expected {tensor.nbytes:,} bytes from "
                f"{tensor.begin:,} on, but the file has only {head.size:,}"
            )
        end = _aligned(offset + tensor.nbytes, alignment)
    return tensors


def _aligned(place: int, alignment: int) -> int:
    return -(-place // alignment) * alignment


class _Head:
    """The part of a file before the data, read from the front."""

    def __init__(self, file: BinaryIO, name: str):
        self.file, self.name, self.at = file, name, 0
        self.size = file.seek(0, 2)
        file.seek(0)

    def wrong(self, place: str, expected: str, found: object) -> InputError:
        return InputError(f"{self.name}: {place}: expected {expected}, found {short(found)}")

    def take(self, count: int, place: str) -> bytes:
        """The next bytes.  InputError if the file has fewer."""
        if count > self.size - self.at or len(data := self.file.read(count)) < count:
            raise InputError(
                f"{self.name}: {place}: expected {count:,} bytes from {self.at:,} on, but the "
                f"file has only {self.size:,}"
            )
        self.at += count
        return data

    def number(self, code: str, place: str) -> Any:
        dtype = np.dtype(code)
        return np.frombuffer(self.take(dtype.itemsize, place), dtype)[0].item()

    def text(self, place: str) -> str:
        """A text, after its length."""
        data = self.take(int.from_bytes(self.take(8, place), "little"), place)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{self.name}: {place}: expected UTF-8: {error}") from None

    def value(self, kind: int, place: str) -> Any:
        """The value of an entry."""
        if kind == _TEXT:
            return self.text(place)
        if kind == _ARRAY:
            kind, length = self.number("<u4", place), self.number("<u8", place)
            if kind == _TEXT:
                return [self.text(place) for _ in range(length)]
            dtype = self._dtype(kind, place)
            return np.frombuffer(self.take(length * dtype.itemsize, place), dtype)
        return self.number(self._dtype(kind, place).str, place)

    def _dtype(self, kind: int, place: str) -> np.dtype:
        if kind not in _NUMBERS:
            raise self.wrong(place, "numbers or texts, or an array of these", f"type {kind}")
        return np.dtype(_NUMBERS[kind])

    def tensor(self, name: str) -> tuple[str, tuple[int, ...], int]:
        """The type, the shape and the offset of a tensor."""
        place = short(name)
        dimensions = self.number("<u4", place)
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise self.wrong(place, f"1 to {MOST_DIMENSIONS} dimensions", dimensions)
        sizes = [self.number("<u8", place) for _ in range(dimensions)]
        number, offset = self.number("<u4", place), self.number("<u8", place)
        if number not in _BY_NUMBER:
            raise self.wrong(place, f"one of {', '.join(TYPES)}", f"type {number}")
        kind, shape = _BY_NUMBER[number], tuple(reversed(sizes))
        if prod(shape) < 1 or prod(shape) > 8 * self.size or shape[-1] % kind.weights:
            raise self.wrong(
                place, f"rows of a multiple of {kind.weights} numbers, which fit the file", shape
            )
        return kind.name, shape, offset


# --- writing -------------------------------------------------------------------------------------


def write_gguf(
    path: str | Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, tuple[NDArray, str]],
) -> None:
    """Write a file, whole or not at all.  ``tensors``: arrays (O, I) or (I,), and their types.

    Some rows at a time are quantised.  A whole number of the metadata takes 32 bits, or 64 if it
    needs them; a fraction is a float32.  ValueError for an array that its type cannot hold.
    """
    head = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for name, value in metadata.items():
        head += [_text(name), *_value(value)]
    end = 0
    for name, (array, block_type) in tensors.items():
        sizes = struct.pack(f"<I{array.ndim}Q", array.ndim, *reversed(array.shape))
        head += [_text(name), sizes, struct.pack("<IQ", TYPES[block_type].number, end)]
        size = prod(array.shape[:-1]) * TYPES[block_type].row_bytes(array.shape[-1])
        end = _aligned(end + size, ALIGNMENT)
    with replacing(path) as file:
        _write_padded(file, [b"".join(head)])
        for name, (array, block_type) in tensors.items():
            matrix = array.reshape(-1, array.shape[-1])
            pieces = (encode(matrix[rows], block_type) for rows in _slices(*matrix.shape))
            try:
                _write_padded(file, pieces)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None


def _write_padded(file: BinaryIO, pieces: Iterable[Any]) -> None:
    """Write bytes, then zeros up to a multiple of the alignment."""
    size = sum(file.write(piece) for piece in pieces)
    file.write(bytes(-size % ALIGNMENT))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> list[bytes]:
    """The number of the kind of a value, and the value."""
    if isinstance(value, str):
        return [struct.pack("<I", _TEXT), _text(value)]
    if isinstance(value, list):
        return [struct.pack("<IIQ", _ARRAY, _TEXT, len(value)), *map(_text, value)]
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"))
        head = struct.pack("<IIQ", _ARRAY, _OF_DTYPE[little.dtype], len(value))
        return [head, little.tobytes()]
    if isinstance(value, bool):
        dtype = "?"
    elif isinstance(value, float):
        dtype = "<f4"
    else:
        dtypes = ("<u4", "<i4", "<u8", "<i8")
        dtype = next(d for d in dtypes if np.iinfo(d).min <= value <= np.iinfo(d).max)
    array = np.array(value, dtype)
    return [struct.pack("<I", _OF_DTYPE[array.dtype]), array.tobytes()]
