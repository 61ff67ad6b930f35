"""Texts in blocks are the text."""

import hashlib
import io
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minillm.data import builtin_corpus, read_text
from minillm.data.corpora import TextStream, sentence_starts
from minillm.errors import InputError

TEXTS = st.text(st.sampled_from("ab \n\ré€😀"), max_size=60).filter(lambda text: text.strip())


@given(TEXTS, TEXTS, st.integers(1, 40), st.integers(0, 100), st.integers(0, 100))
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


def test_built_in_corpus_and_standard_input(monkeypatch):
    assert "".join(TextStream([]).blocks()) == builtin_corpus()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b\nc\n")))
    stream = TextStream(["-"])
    assert "".join(stream.blocks()) == "".join(stream.blocks()) == "a b\nc\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected text, found an empty file"),
        (b" \n\n", "expected text, found an empty file"),
        (b"a\nb\0c", r", line 2: expected UTF-8 text, found a zero byte"),
        (b"a\nb\xff\n", "line 2: expected UTF-8 text, found the byte 0xff"),
        (b"a\nb\nc\xe2\x82", "line 3: expected UTF-8 text, found the byte 0xe2"),
    ],
)
@pytest.mark.parametrize("block", [1, 2, 3, 1000])
def test_bad_files(tmp_path, data, message, block):
    (tmp_path / "text").write_bytes(data)
    with pytest.raises(InputError, match=message):
        TextStream([str(tmp_path / "text")], block)


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
