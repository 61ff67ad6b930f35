"""``minillm tokenize``, called as a user calls it."""

import gzip
import json
import re

import numpy as np
import pytest

from minillm.data import Shards
from minillm.text import Characters, byte_pairs, load_tokenizer

TEXT = "".join(f"line {k} of a text\n" for k in range(20_000))


@pytest.fixture
def text(tmp_path):
    """A text, next to a folder with its vocabulary."""
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "run").mkdir()
    values = {"format_version": 1, **Characters.from_text(TEXT).to_dict()}
    (tmp_path / "run" / "vocabulary.json").write_text(json.dumps(values))
    return tmp_path / "text"


def test_it_says_what_it_has_written(text, tmp_path, prints, fails):
    out = tmp_path / "deep" / "out"
    command = ["tokenize", text, "--out", out, "--tokenizer", tmp_path / "run"]
    printed = prints(*command, "--shard-bytes", "200000")
    report = (
        f"{out}: {len(TEXT):,} tokens of {len(TEXT):,} characters (1.00 each), 2 bytes each\n"
        f"the text: {len(TEXT):,} bytes; documents: 1\n"
    )
    assert printed.startswith(report)
    rate = rf"{len(TEXT):,} tokens in [0-9.]+ s: [0-9,]+ per second\n"
    assert re.fullmatch(rate, printed.removeprefix(report))
    np.testing.assert_array_equal(Shards(out)[:], Characters.from_text(TEXT).encode(TEXT))
    assert f"{out}: expected the name of a new folder" in fails(*command)
    prints(*command, "--overwrite")
    again = tmp_path / "again"  # the shards' vocabulary is a tokenizer
    prints("tokenize", text, "--out", again, "--tokenizer", out)
    assert Shards(again).sha256 == Shards(out).sha256


def test_compressed_lines_are_documents(text, tmp_path, prints):
    lines = [f"line {k} of a text\n" for k in range(50)]
    (tmp_path / "lines.gz").write_bytes(gzip.compress("".join(lines).encode()))
    values = {"format_version": 1, **byte_pairs.train([TEXT[:2000]], 280).to_dict()}
    (tmp_path / "run" / "vocabulary.json").write_text(json.dumps(values))
    command = ["tokenize", tmp_path / "lines.gz", "--out", tmp_path / "out"]
    printed = prints(*command, "--tokenizer", tmp_path / "run", "--documents", "line")
    assert "documents: 50\n" in printed
    decoded = load_tokenizer(tmp_path / "run").decode(Shards(tmp_path / "out")[:].tolist())
    assert decoded.split("<|endoftext|>") == [*lines, ""]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("text --out out", "--tokenizer"),
        ("text --tokenizer run", "--out"),
        ("none --out out --tokenizer run", "none: there is no such file"),
        ("binary --out out --tokenizer run", "binary, line 1: expected UTF-8 text"),
        ("text --out out --tokenizer damaged", "vocabulary.json"),
        ("text --out= --tokenizer run", "expected the name of a folder, found an empty one"),
        ("text --out run --tokenizer run", "a new folder, but it exists already"),
    ],
)
def test_bad_input(words, complaint, text, tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(b"a\0b")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "vocabulary.json").write_text('{"format_version": 1, "unit": "word"}')
    assert complaint in fails("tokenize", *words.split())
    assert not (tmp_path / "out").exists()
