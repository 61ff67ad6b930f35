"""GGUF files: what is written is read, and a damaged file is one line."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minillm.errors import InputError
from minillm.quantised.blocks import WRITTEN
from minillm.quantised.gguf import open_gguf, write_gguf

VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(width=32, allow_nan=False),
    st.text(max_size=5),
    st.lists(st.text(max_size=5), max_size=3),
    hnp.arrays(st.sampled_from(["<i4", "<u2", "<f4", "|b1"]), st.integers(0, 4)),
)
METADATA = st.dictionaries(st.text(max_size=5), VALUES, max_size=5)
ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


def plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf") / "model.gguf"


@given(METADATA, st.dictionaries(st.text(max_size=3), hnp.array_shapes(max_dims=3), max_size=3))
def test_there_and_back(path, metadata, shapes):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    write_gguf(path, metadata, {name: (array, "F32") for name, array in arrays.items()})
    values, tensors = open_gguf(path)
    np.testing.assert_equal(  # NaN is NaN
        {n: plain(v) for n, v in values.items()}, {n: plain(v) for n, v in metadata.items()}
    )
    assert {n: type(plain(v)) for n, v in values.items()} == {
        n: type(plain(v)) for n, v in metadata.items()
    }
    assert tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(tensors[name].read(), array)
        assert tensors[name].begin % 32 == 0


def test_a_file_made_by_hand(path):
    """Version 2, values of every width, another alignment: as the format's page describes it."""

    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    entries = [
        text("general.alignment") + struct.pack("<II", 4, 8),
        text("byte") + struct.pack("<IB", 0, 200),
        text("small") + struct.pack("<Ih", 3, -300),
        text("double") + struct.pack("<Id", 12, 0.1),
        text("bytes") + struct.pack("<IIQ", 9, 1, 2) + bytes([255, 1]),
        text("texts") + struct.pack("<IIQ", 9, 8, 2) + text("é") + text(""),
    ]
    tensor = text("t") + struct.pack("<IQQIQ", 2, 3, 1, 1, 0)
    head = b"GGUF" + struct.pack("<IQQ", 2, 1, len(entries)) + b"".join(entries) + tensor
    head += bytes(-len(head) % 8)
    path.write_bytes(head + np.array([1, -2, 0.5], "<f2").tobytes())
    metadata, tensors = open_gguf(path)
    assert {name: plain(value) for name, value in metadata.items()} == {
        "general.alignment": 8, "byte": 200, "small": -300, "double": 0.1, "bytes": [-1, 1],
        "texts": ["é", ""],
    }  # fmt: skip
    assert tensors["t"].shape == (1, 3)
    assert tensors["t"].read().tolist() == [[1, -2, 0.5]]


@pytest.mark.parametrize("type", WRITTEN)
def test_a_tensor_is_read_in_pieces_and_whole(path, type, monkeypatch):
    array = np.random.default_rng(0).normal(size=(37, 512)).astype(np.float32)
    write_gguf(path, {}, {"a": (ARRAY, "F32"), "b": (array, type), "c": (ARRAY, "F32")})
    b = open_gguf(path)[1]["b"]
    whole = b.read()
    monkeypatch.setattr("minillm.quantised.gguf.PIECE", 1024)  # numbers
    np.testing.assert_array_equal(b.read(), whole)
    write_gguf(path, {}, {"a": (ARRAY, "F32"), "b": (array, type), "c": (ARRAY, "F32")})
    pieces, again = list(b.pieces()), open_gguf(path)[1]["b"].pieces()
    assert [rows for rows, _ in pieces] == [slice(0, 16), slice(16, 32), slice(32, 37)]
    assert b"".join(data for _, data in pieces) == b"".join(data for _, data in again)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.gguf"
    write_gguf(path, {}, {"a": (ARRAY, "F32")})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"^b: expected finite numbers"):
        write_gguf(path, {}, {"a": (ARRAY, "F32"), "b": (ARRAY + np.inf, "F32")})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def made(path, change=lambda head: head, metadata=None, cut=0):
    """The message about a file whose first bytes are changed, or whose end is cut off."""
    write_gguf(path, metadata or {}, {"first": (ARRAY, "F32"), "other": (ARRAY, "F32")})
    data = change(path.read_bytes())
    path.write_bytes(data[: len(data) - cut])
    with pytest.raises(InputError) as error:
        open_gguf(path)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path}: ")


def number(at, code, value):
    """Write a number at a place, or, if that is a text, some bytes behind the end of it."""

    def change(data):
        place = at if isinstance(at, int) else data.index(at[0]) + len(at[0]) + at[1]
        return data[:place] + struct.pack(code, value) + data[place + struct.calcsize(code) :]

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda data: b"", "expected 4 bytes from 0 on"),
        (lambda data: b"GGML" + data[4:], "its first bytes: expected b'GGUF', found b'GGML'"),
        (number(4, "<I", 1), "version: expected 2 or 3"),
        (number(4, ">I", 3), "version: expected 2 or 3, in a little-endian file"),
        (number(8, "<Q", 2**60), "expected"),
        (number(16, "<Q", 2**60), "expected"),
        (number(24, "<Q", 2**60), "the name of an entry: expected 1,152,9"),
        (number(32, "<B", 255), "the name of an entry: expected UTF-8"),
        (number((b"n", 0), "<I", 13), "'n': expected numbers or texts, or an array of these"),
        (number((b"list", 4), "<I", 9), "'list': expected numbers or texts"),
        (number((b"list", 8), "<Q", 2**60), "'list': expected "),
        (number((b"last", 4), "<Q", 2**60), "'last': expected 268,435,456 bytes"),
        (lambda data: data.replace(b"list", b"last"), "'last': expected one value, found two"),
        (number((b"first", 0), "<I", 5), "'first': expected 1 to 4 dimensions, found 5"),
        (number((b"first", 4), "<Q", 2**63), "'first': expected rows of a multiple of 1"),
        (number((b"first", 4), "<Q", 0), "'first': expected rows of a multiple of 1"),
        (number((b"first", 4), "<Q", 99), "'first': expected 1,188 bytes from"),
        (number((b"first", 20), "<I", 2), "'first': expected rows of a multiple of 32"),
        (number((b"first", 20), "<I", 6), "'first': expected rows of a multiple of 32"),
        (number((b"first", 20), "<I", 21), "BF16, found 'type 21'"),
        (number((b"first", 20), "<I", 99), "BF16, found 'type 99'"),
        (lambda data: data.replace(b"other", b"first"), "'first': expected one tensor, found two"),
        (number((b"other", 24), "<Q", 0), "'other': offset: expected 64, found 0"),
        (number((b"other", 24), "<Q", 96), "'other': offset: expected 64, found 96"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, change, complaint):
    metadata = {"n": 7, "list": ["a"], "last": np.array([1, 2], np.int32)}
    assert complaint in made(tmp_path / "a.gguf", change, metadata)


def test_a_file_that_is_cut_short(tmp_path):
    path = tmp_path / "a.gguf"
    for cut in (17, 130, 250):  # among the data, the tensors, the metadata
        assert "bytes" in made(path, cut=cut, metadata={"text": "x" * 60})
    for alignment in (0, 12, 1 << 17, "x"):
        assert "general.alignment: expected a multiple of 8" in made(
            path, metadata={"general.alignment": alignment}
        )
    with pytest.raises(InputError, match="there is no such file"):
        open_gguf(tmp_path / "none")


def test_a_file_that_is_cut_short_after_it_was_opened(path):
    write_gguf(path, {}, {"a": (np.ones((9, 64), np.float32), "Q8_0")})
    tensor = open_gguf(path)[1]["a"]
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="cut short since it was opened"):
        tensor.read()


def test_the_package_gguf_reads_what_we_write(path):
    gguf = pytest.importorskip("gguf")
    rng, metadata = np.random.default_rng(0), {"general.architecture": "llama", "n": -5, "x": 0.25}
    metadata |= {"texts": ["é", "b"], "ints": np.array([1, -2], np.int32), "big": 1 << 40}
    arrays = {type: rng.normal(size=(3, 512)).astype(np.float32) for type in WRITTEN}
    write_gguf(path, metadata, {type: (array, type) for type, array in arrays.items()})
    reader, (_, ours) = gguf.GGUFReader(path), open_gguf(path)
    for name, value in metadata.items():
        assert reader.fields[name].contents() == plain(value)
    for tensor in reader.tensors:
        theirs = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert ours[tensor.name].type == tensor.tensor_type.name
        np.testing.assert_array_equal(ours[tensor.name].read(), theirs)
