"""Safetensors files: what the library accepts, refuses and reads, minillm does too."""

import json
import random
import struct

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from minillm.errors import InputError
from minillm.formats.tensors import open_tensors, write_tensors

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.arange(4, dtype=np.int64),
    "c": np.array(0.5, np.float16),
    "none": np.zeros((0, 3), np.float32),
}


def entry(begin, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write(path, header, data=b"1234"):
    """A file with this header, an object or its bytes, and these bytes of tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def both(path):
    """Whether the library accepts a file, and whether minillm does."""
    try:
        with safe_open(path, framework="numpy"):
            theirs = True
    except SafetensorError:
        theirs = False
    try:
        open_tensors(path)
    except InputError:
        return theirs, False
    return theirs, True


def test_each_reads_what_the_other_writes(tmp_path):
    save_file(ARRAYS, tmp_path / "theirs", {"made": "by"})
    tensors, metadata = open_tensors(tmp_path / "theirs")
    assert metadata == {"made": "by"}
    write_tensors(tmp_path / "ours", ARRAYS, metadata)
    ours = load_file(tmp_path / "ours")
    assert ours.keys() == tensors.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        for found in (ours[name], tensors[name].read()):
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 4, [1])},
        {"b": entry(4, 4, [0, 7]), "a": entry(0, 4, [])},
        {"a": entry(0, 4, [1]) | {"more": 1}, "__metadata__": None},
        b' {"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}   ',
    ],
)
def test_both_accept(tmp_path, header):
    assert both(write(tmp_path / "file", header)) == (True, True)


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 4, [1]), "b": entry(2, 6, [1])},  # overlapping
        {"a": entry(4, 8, [1])},  # a hole
        {"a": entry(0, 2, [1], "F16")},  # bytes of no tensor
        {"a": entry(0, 4, [2])},
        {"a": entry(0, 4, [2**62, 4])},
        {"a": entry(0, 4, [2**64, 0])},
        {"a": entry(0, 4, [True])},
        {"a": entry(0, 4, [1.0])},
        {"a": entry(0, 4, [1], "unknown")},
        {"a": None},
        {"a": entry(0, 4, [1]), "__metadata__": {"n": 1}},
        {},
        [],
        b"",
        b"[" * 100_000,
        b'{"\xff": 1}',
        b"{}\0\0",
    ],
)
def test_both_refuse(tmp_path, header):
    assert both(write(tmp_path / "file", header)) == (False, False)


def test_a_type_that_numpy_lacks_is_named(tmp_path):
    path = write(tmp_path / "file", {"a": entry(0, 4, [4], "F8_E4M3")})
    with pytest.raises(InputError, match="'a': expected a type that NumPy has, found 'F8_E4M3'"):
        open_tensors(path)


@pytest.mark.parametrize("size", [0, 7, 8, 2**63, 2**64 - 1])
def test_a_header_that_is_longer_than_the_file(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(struct.pack("<Q", size)[: max(size, 1)] + b"{}")
    assert both(path) == (False, False)


def test_both_refuse_the_same_damaged_files(tmp_path):
    rng, path = random.Random(0), tmp_path / "file"
    save_file(ARRAYS, path, {"made": "by"})
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    pieces, verdicts = [b"", *b'0 1 - } " x , ['.split(), b" "], []
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(header)
            any_byte = bytes([rng.randrange(256)])
            data[at : at + rng.randint(0, 1)] = rng.choice([*pieces, any_byte])
        path.write_bytes(data)
        theirs, ours = both(path)
        assert theirs == ours, bytes(data[:header])
        verdicts.append(ours)
    assert 8 < sum(verdicts) < 392
