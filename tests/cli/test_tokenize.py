"""``minillm tokenize``, called as a user calls it."""

import gzip
import json
import re

import numpy as np
import pytest

from minillm.cli import main
from minillm.data import Shards
from minillm.text import Characters, byte_pairs, load_tokenizer

TEXT = "".join(f"line {k} of a text\n" for k in range(20_000))


@pytest.fixture
def paths(tmp_path):
    """A text, and a folder with its vocabulary."""
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "run").mkdir()
    values = {"format_version": 1, **Characters.from_text(TEXT).to_dict()}
    (tmp_path / "run" / "vocabulary.json").write_text(json.dumps(values))
    return str(tmp_path / "text"), str(tmp_path / "run")


def tokenize(paths, out, *options):
    text, run = paths
    return ["tokenize", text, "--out", str(out), "--tokenizer", run, *options]


def test_it_says_what_there_is(paths, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert main(tokenize(paths, out, "--shard-bytes", "200000")) == 0
    report = (
        f"{out}: {len(TEXT):,} tokens of {len(TEXT):,} characters (1.00 each), 2 bytes each\n"
        f"the text: {len(TEXT):,} bytes; documents: 1\n"
    )
    output = capsys.readouterr().out
    assert output.startswith(report)
    rate = rf"{len(TEXT):,} tokens in [0-9.]+ s: [0-9,]+ per second\n"
    assert re.fullmatch(rate, output.removeprefix(report))
    np.testing.assert_array_equal(Shards(out)[:], Characters.from_text(TEXT).encode(TEXT))
    assert main(tokenize(paths, out)) == 2
    assert f"{out}: expected the name of a new folder" in capsys.readouterr().err
    assert main(tokenize(paths, out, "--overwrite")) == 0


def test_the_vocabulary_of_shards_is_a_tokenizer(paths, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(tokenize(paths, first)) == 0
    assert main(tokenize((paths[0], str(first)), second)) == 0
    assert Shards(first).sha256 == Shards(second).sha256


def test_compressed_lines_are_documents(paths, tmp_path, capsys):
    lines = [f"line {k} of a text\n" for k in range(50)]
    (tmp_path / "lines.gz").write_bytes(gzip.compress("".join(lines).encode()))
    values = {"format_version": 1, **byte_pairs.train([TEXT[:2000]], 280).to_dict()}
    (tmp_path / "run" / "vocabulary.json").write_text(json.dumps(values))
    paths = str(tmp_path / "lines.gz"), paths[1]
    assert main(tokenize(paths, tmp_path / "out", "--documents", "line")) == 0
    assert "documents: 50\n" in capsys.readouterr().out
    text = load_tokenizer(paths[1]).decode(Shards(tmp_path / "out")[:].tolist())
    assert text.split("<|endoftext|>") == [*lines, ""]


def test_bad_input(paths, tmp_path, capsys):
    text, run = paths
    out = str(tmp_path / "out")
    (tmp_path / "binary").write_bytes(b"a\0b")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "vocabulary.json").write_text('{"format_version": 1, "unit": "word"}')
    for command, complaint in (
        (["tokenize", text, "--out", out], "--tokenizer"),
        (["tokenize", text, "--tokenizer", run], "--out"),
        (tokenize((str(tmp_path / "none"), run), out), "none: there is no such file"),
        (tokenize((str(tmp_path / "binary"), run), out), "binary, line 1: expected UTF-8 text"),
        (tokenize((text, str(tmp_path / "none")), out), "none"),
        (tokenize((text, str(tmp_path / "damaged")), out), "vocabulary.json"),
        (tokenize(paths, ""), "expected the name of a folder, found an empty one"),
        (tokenize(paths, text), "text: expected the name of a new folder"),
        (tokenize(paths, run), "expected the name of a new folder, but it exists already"),
        (tokenize(paths, out, "--shard-bytes", "0"), "--shard-bytes"),
    ):
        try:
            status = main(command)
        except SystemExit as exit:
            status = exit.code
        assert status == 2
        error = capsys.readouterr().err
        assert complaint in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out").exists()
