"""Texts, whole or in blocks, of files and of Python, and the memory that they take."""

import gzip
import hashlib
import io
import os
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import minillm
from minillm.data import builtin_corpus, corpora, read_text, split_text
from minillm.data.compressed import decompressed
from minillm.data.corpora import TextStream, sentence_starts
from minillm.errors import InputError

TEXTS = st.text(st.sampled_from("ab \n\ré€😀"), max_size=60).filter(lambda text: text.strip())


@given(TEXTS, TEXTS, st.integers(1, 40), st.integers(0, 100), st.integers(0, 100))
@example("a line", "the last one ends with a space ", 3, 0, 9)
def test_the_blocks_are_the_text(tmp_path_factory, first, second, block, start, stop):
    folder = tmp_path_factory.mktemp("texts")
    files = [str(folder / "first"), str(folder / "second")]
    for file, text in zip(files, (first, second), strict=True):
        with open(file, "wb") as out:
            out.write(text.encode())
    whole = read_text(files)
    stream = TextStream(files, block)
    assert "".join(stream.blocks()) == whole
    assert "".join(stream.blocks(start, stop)) == whole[start:stop]
    assert "".join(stream.blocks(start)) == whole[start:]
    assert stream.characters == len(whole)
    assert stream.sha256 == hashlib.sha256(whole.encode()).hexdigest()
    lines = [line for line in whole.split("\n") if len(line) < block]
    if len(lines) == whole.count("\n") + 1:
        assert all(piece.endswith("\n") for piece in stream.blocks())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_standard_input_and_a_pipe_are_read_once_and_kept(tmp_path, monkeypatch):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    feeding = threading.Thread(target=path.write_text, args=("a b\nc\n",))
    feeding.start()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"d\n")))
    stream = TextStream([str(path), "-"])
    feeding.join()
    assert "".join(stream.blocks()) == "".join(stream.blocks()) == "a b\nc\nd\n"


@given(st.lists(st.lists(st.integers(0, 2), max_size=5), max_size=5), st.sampled_from([1, None]))
@example([[0, 1], [], [2, 1], [0]], 1)
def test_sentence_starts(pieces, line_end):
    ids = [id for piece in pieces for id in piece]
    expected = []
    for k, id in enumerate(ids):
        if k == 0 or ids[k - 1] == line_end:
            expected.append(9)
        expected.append(id)
    arrays = [np.array(piece, np.int32) for piece in pieces]
    results = list(sentence_starts(arrays, 9, line_end))
    assert [id for piece in results for id in piece.tolist()] == expected
    assert all(piece.dtype == np.int32 for piece in results)


def test_the_last_tenth_is_held_out():
    assert split_text("0123456789" * 2) == ("012345678901234567", "89")


# --- memory --------------------------------------------------------------------------------------


def test_a_text_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "MOST_IN_MEMORY", 100)
    path = tmp_path / "text"
    path.write_text("word " * 20)
    assert len(read_text([str(path)])) == 101
    path.write_text("word " * 21)
    with pytest.raises(InputError, match="text: expected at most 100 bytes, found more"):
        read_text([str(path)])
    assert TextStream([str(path)]).characters == 106  # it keeps nothing
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"word " * 21)))
    with pytest.raises(InputError, match="standard input: expected at most 100 bytes, found more"):
        TextStream(["-"])


def peak_of(call):
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(1, 50))
def test_only_the_bytes_that_are_read_are_decompressed(parts, size):
    """Several members follow each other in a file; after them, a gigabyte of zeros is not read."""
    with decompressed(io.BytesIO(b"".join(map(gzip.compress, parts))), "x") as contents:
        assert b"".join(iter(lambda: contents.read(size), b"")) == b"".join(parts)
    packed = io.BytesIO(BOMB)

    def read():
        with decompressed(packed, "x") as contents:
            assert contents.read(1 << 16) == bytes(1 << 16)

    assert peak_of(read) < 1 << 25


BOMB = gzip.compress(bytes(1 << 24)) * 64


@pytest.mark.deep
@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_line_of_megabytes_takes_at_most_four_times_its_size(tmp_path, unit):
    text, peaks = tmp_path / "text", []
    text.write_text("the cat sat on the mat .\n" * 60)
    run = minillm.train("ngram", files=text, order=2, unit=unit, quiet=True)
    for size in (2_000_000, 5_000_000):
        text.write_text("the cat sat on the mat . " * (size // 25))
        peaks.append(peak_of(lambda: run.evaluate(files=text)))
    assert peaks[1] - peaks[0] < 4 * 3_000_000


# --- texts that come with Python -----------------------------------------------------------------


def test_the_built_in_corpus_is_half_a_megabyte_of_english(tmp_path, monkeypatch):
    text = builtin_corpus()
    assert 300_000 < len(text) < 1_000_000
    assert text.count(" the ") > 1000
    (tmp_path / "a").write_text("one\n")
    assert read_text([str(tmp_path / "a"), "python-docs"]) == "one\n" + text
    assert read_text([]) == "".join(TextStream(()).blocks()) == text
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match="python-docs"):
        builtin_corpus()


def test_the_source_of_the_standard_library(monkeypatch, tmp_path):
    files = {"b.py": b"b = 2", "a.py": b"a = 1\n", "c.py": b"\xff", "a.txt": b"no Python"}
    files |= {"test/x.py": b"x", "site-packages/y.py": b"y", "sub/d.py": b"d = 4\r\n"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    assert read_text(["python-source"]) == "a = 1\n\nb = 2\n\nd = 4\n"
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path / "none")})
    with pytest.raises(InputError, match=r"python-source: there are no \.py files in"):
        read_text(["python-source"])
