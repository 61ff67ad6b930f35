"""Compressed texts are the texts; damage is named."""

import gzip
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import read_text
from minillm.data.compressed import decompressed
from minillm.data.corpora import TextStream
from minillm.errors import InputError

TEXT = "".join(f"line {k} of the text: é€😀\n" for k in range(3000))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(1, 50))
def test_compressed_files_are_read_as_their_contents(parts, size):
    """Several frames, or members, follow each other in a file."""
    file = io.BytesIO(b"".join(map(gzip.compress, parts)))
    with decompressed(file, "x") as contents:
        read = b"".join(iter(lambda: contents.read(size), b""))
    assert read == b"".join(parts)


def test_texts(tmp_path, monkeypatch):
    """By their contents: the name of a file does not matter; standard input, too."""
    data = gzip.compress(TEXT[:500].encode()) + gzip.compress(TEXT[500:].encode())
    (tmp_path / "text").write_bytes(data)
    assert read_text([str(tmp_path / "text")]) == TEXT
    assert "".join(TextStream([str(tmp_path / "text")], 1000).blocks()) == TEXT
    for file in (io.BytesIO(data), io.BufferedReader(io.BytesIO(data))):
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": file}))
        assert read_text(["-"]) == TEXT


def test_gzip_files_may_end_with_zeros():
    data = gzip.compress(b"one, ") + bytes(600) + gzip.compress(b"two") + bytes(9000)
    with decompressed(io.BytesIO(data), "x") as contents:
        assert contents.read() == b"one, two"


@pytest.mark.parametrize("left", [5, 60, 0.5, -9, -1])
def test_a_file_that_is_cut_short_is_named(tmp_path, left):
    data = gzip.compress(TEXT.encode())
    (tmp_path / "text").write_bytes(data[: int(len(data) * left) if left == 0.5 else left])
    with pytest.raises(InputError, match="text: expected a whole gzip file, found one that is"):
        read_text([str(tmp_path / "text")])


def test_damaged_files_are_named(tmp_path):
    for damage in (
        lambda data: data[:30] + bytes([data[30] ^ 255]) * 9 + data[39:],
        lambda data: data + b"something else",
    ):
        (tmp_path / "text").write_bytes(damage(gzip.compress(TEXT.encode())))
        with pytest.raises(InputError) as error:
            read_text([str(tmp_path / "text")])
        assert "text: expected a gzip file, but it is damaged: " in str(error.value)
        assert "\n" not in str(error.value)


def test_only_the_bytes_that_are_read_are_decompressed():
    """A gigabyte of zeros, of which a little is read."""
    import tracemalloc

    data = gzip.compress(bytes(1 << 24)) * 64
    tracemalloc.start()
    with decompressed(io.BytesIO(data), "x") as contents:
        assert contents.read(1 << 16) == bytes(1 << 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 25
