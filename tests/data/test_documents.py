"""A corpus as documents in blocks: nothing is lost, and no token is cut."""

import gzip
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minillm.data import read_text
from minillm.data.tokenizing import blocks_of, cut_at_spaces
from minillm.errors import InputError
from minillm.text import Characters, Words, build_vocabulary
from minillm.text.bpe import split_words

LINES = st.lists(st.text(st.sampled_from("ab1 .\t\r\x1c\u3000\u00a0é字。😀'"), max_size=9))
UNITS = ("character", "word", "bpe", "wordpiece")


def texts_of(files, size, kind="file"):
    """The documents of files."""
    results, held = [], ""
    for block in blocks_of([str(file) for file in files], kind, size):
        for _, piece in block:
            held += piece or ""
            if piece is None:
                results.append(held)
                held = ""
    assert not held
    return results


@given(st.lists(LINES, min_size=1, max_size=3), st.integers(1, 60), st.sampled_from(UNITS))
@example([["b", "  b"]], 1, "bpe")
@example([["b", "", "b"]], 1, "bpe")
@example([["b\u3000", "b"]], 1, "bpe")
@example([["b", "\u00a0 b"]], 1, "bpe")
def test_blocks_have_the_tokens_of_the_whole(tmp_path_factory, contents, size, unit):
    """Blocks of any size have every document once."""
    folder, files = tmp_path_factory.mktemp("texts"), []
    for number, lines in enumerate(contents):
        files.append(str(folder / str(number)))
        (folder / str(number)).write_bytes(("a" + "\n".join(lines)).encode())
    assert texts_of(files, size) == [read_text([file]) for file in files]
    whole = read_text(files)
    vocabulary = build_vocabulary([whole], unit, 1, 400)
    pieces = [text for block in blocks_of(files, "file", size) for _, text in block if text]
    for split in (vocabulary.encode, split_words):  # a small vocabulary has few long tokens
        expected = [token for file in files for token in split(read_text([file]))]
        assert [token for piece in pieces for token in split(piece)] == expected


@given(LINES, st.integers(1, 60))
def test_lines_and_json_lines_are_the_same_documents(tmp_path_factory, lines, size):
    folder = tmp_path_factory.mktemp("texts")
    lines = ["a", *(line.replace("\r", "") for line in lines)]
    (folder / "text").write_text("\n".join(lines))
    expected = [line + "\n" for line in lines if line.strip()]
    objects = "".join(json.dumps({"id": 1, "text": line}) + "\n" for line in lines)
    (folder / "text.jsonl").write_text(objects)
    (folder / "text.jsonl.gz").write_bytes(gzip.compress(objects.encode()))
    assert texts_of([folder / "text"], size, "line") == expected
    for name in ("text.jsonl", "text.jsonl.gz"):
        for kind in ("file", "line"):
            assert texts_of([folder / name], size, kind) == expected


def test_a_text_of_json_lines_may_have_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one\\ntwo"}\n\n{"text": ""}\n{"text": "3\\n"}')
    assert texts_of([tmp_path / "a.jsonl"], 99) == ["one\ntwo\n", "3\n"]


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_long_texts_are_encoded_in_pieces(monkeypatch, piece):
    monkeypatch.setattr("minillm.text.words._BLOCK", piece)
    monkeypatch.setattr("minillm.text.characters._BLOCK", piece)
    text = "Don't panic (yet).\n\n  It's 3.14  \t<unk> here"
    for vocabulary in (Words.from_text(text), Characters.from_text(text)):
        ids = vocabulary.encode(text)
        assert [vocabulary.tokens[id] for id in ids] == vocabulary.split(text)
    with pytest.raises(InputError, match=r"line 3, column 4: the character '\?'"):
        Characters.from_text(text).encode("panic\n\nyet?")


def test_a_text_without_spaces_does_not_pile_up():
    assert max(map(len, cut_at_spaces(["abc"] * 20, 10))) == 12
