"""Safetensors files, read and written one tensor at a time.

    8 bytes    n, the length of the header, little-endian
    n bytes    the header, as JSON: {"name": {"dtype": "F32", "shape": [2, 3],
               "data_offsets": [0, 24]}, ...}, and perhaps texts in "__metadata__"
    the rest   the tensors, each from its first offset to its second

The library safetensors makes a second copy of everything that it reads or writes.  Here a tensor
stays in the file until it is read into its place, so a model may be as large as the memory.  The
tests compare both: each reads what the other writes, and both refuse the same damaged files.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import fill, from_json, reading, replacing
from minillm.errors import InputError, short

PIECE = 1 << 16  # elements that are read at once
LARGEST_HEADER = 100_000_000  # bytes, as in the library

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, not read yet."""

    path: Path
    dtype: str  # the name in safetensors: "F32", "BF16"
    shape: tuple[int, ...]
    begin: int  # of its bytes in the file

    @property
    def bytes(self) -> int:
        """The size of the tensor in the file."""
        return prod(self.shape) * np.dtype(_DTYPES[self.dtype]).itemsize

    def read(self) -> NDArray:
        """The tensor, in memory."""
        array = np.empty(self.shape, "<f4" if self.dtype == "BF16" else _DTYPES[self.dtype])
        for rows, piece in self.pieces():
            array[rows] = piece
        return array

    def pieces(self) -> Iterator[tuple[Any, NDArray]]:
        """The tensor some rows at a time, which needs little memory: an index, and array[index].

        bfloat16, which NumPy lacks, becomes float32, because its bits are the upper half of one.
        InputError if the file has been cut short since it was opened.
        """
        length, shape = (self.shape[0], self.shape[1:]) if self.shape else (1, ())
        step = max(1, PIECE // max(1, prod(shape)))
        at = self.begin
        with reading(self.path, regular=True) as file:
            for row in range(0, length, step):
                piece = np.empty((min(step, length - row), *shape), _DTYPES[self.dtype])
                fill(piece, file, str(self.path), at)
                at += piece.nbytes
                if self.dtype == "BF16":
                    piece = (piece.astype(np.uint32) << 16).view(np.float32)
                yield (slice(row, row + step), piece) if self.shape else (..., piece[0])


def open_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, none of them read yet, and its metadata.

    InputError if the file is missing, damaged or truncated, or has types that NumPy lacks.
    """
    with reading(path, regular=True) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, LARGEST_HEADER):
            raise _damaged(path, f"its header is longer than the file, or {LARGEST_HEADER:,} bytes")
        header = from_json(file.read(length), f"{path}: the header of a safetensors file", dict)
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(t, str) for t in metadata.values()):
        raise _damaged(path, "its metadata are not texts")
    tensors = {name: _tensor(path, name, 8 + length, entry) for name, entry in header.items()}
    # Each tensor begins where the one before it ends, and the last one ends with the file.
    at = 8 + length
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].bytes)):
        if tensor.begin != at:
            raise _damaged(path, f"{short(name)} begins at byte {tensor.begin}, expected {at}")
        at += tensor.bytes
    if at != size:
        raise _damaged(path, f"its tensors end at byte {at}, and it has {size}")
    return tensors, metadata


def _damaged(path: str | Path, why: str) -> InputError:
    return InputError(f"{path}: expected a safetensors file, but it is damaged: {why}")


def _tensor(path: str | Path, name: str, start: int, entry: Any) -> Tensor:
    """The tensor of an entry in the header; the first tensor begins at ``start``."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]}:
            pass
        case _:
            raise _damaged(path, f"{short(name)} has no type, shape or offsets")
    if not all(type(n) is int and 0 <= n <= sys.maxsize for n in (*shape, begin, end)):
        raise _damaged(path, f"{short(name)} has a shape or offsets that are no sizes")
    if dtype not in _DTYPES:
        raise InputError(
            f"{path}: {short(name)}: expected a type that NumPy has, found {short(dtype)}"
        )
    tensor = Tensor(Path(path), dtype, tuple(shape), start + begin)
    if tensor.bytes != end - begin:
        raise _damaged(path, f"{short(name)} has {tensor.bytes} bytes, and offsets of others")
    return tensor


def write_tensors(
    path: str | Path, arrays: Mapping[str, NDArray], metadata: Mapping[str, str]
) -> None:
    """Write arrays as a safetensors file, whole or not at all; equal arrays make equal files."""
    # In this order each array begins at a multiple of the size of its elements.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        array = arrays[name]
        begin, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype.newbyteorder("<").str]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            array = arrays[name]
            file.write(array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).data)
