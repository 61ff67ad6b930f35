"""The limits of what is read of a file, and the memory that reading takes."""

import io
import os
import subprocess
import sys

import pytest

from minillm.cli import main
from minillm.data import files, read_text
from minillm.data.corpora import TextStream
from minillm.data.labelled import read_labelled
from minillm.data.lines import read_lines
from minillm.data.pairs import read_pairs
from minillm.data.registry import absolute
from minillm.errors import InputError
from minillm.text import Characters, Words


def test_a_line_that_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 20)
    path = tmp_path / "lines"
    path.write_text("a\tb\n" + "a" * 10 + "\t" + "b" * 10 + "\n")
    message = "line 2: expected a line of at most 20 bytes, found a longer one"
    for read in (read_lines, read_pairs, read_labelled):
        with pytest.raises(InputError, match=message):
            list(read(path))
    path.write_text("a" * 10 + "\t" + "b" * 8 + "\n")  # with its end, 20
    assert len(list(read_lines(path))) == 1


def test_a_text_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("minillm.data.corpora.MOST_IN_MEMORY", 100)
    monkeypatch.setattr("minillm.data.corpora.MOST_IN_MEMORY", 100)
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


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev/zero")
def test_a_device_that_never_ends():
    for read in (lambda: read_text(["/dev/zero"]), lambda: TextStream(["/dev/zero"])):
        with pytest.raises(InputError, match=r"line 1: expected UTF-8 text, found a zero byte"):
            read()
    with pytest.raises(InputError, match="line 1: expected a line of at most 16,777,216 bytes"):
        list(read_lines("/dev/zero"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_read_once_and_kept(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    program = f"open({str(path)!r}, 'w').write('a b\\nc\\n' * 3)"
    with subprocess.Popen([sys.executable, "-c", program]):
        stream = TextStream([str(path)])
    assert "".join(stream.blocks()) == "".join(stream.blocks()) == "a b\nc\n" * 3


def test_a_loop_of_links_is_named(tmp_path, capsys):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert absolute(str(loop)).endswith("loop")
    for arguments in (
        ("train", "ngram", str(loop), "--out", str(tmp_path / "run")),
        ("import", str(loop), "--out", str(tmp_path / "run")),
        ("eval", str(loop)),
        ("train", "lm", "--steps", "1", "--out", str(loop)),
    ):
        assert main(list(arguments)) == 2
        assert str(loop) in capsys.readouterr().err


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input: cannot be read: it is closed"):
        read_text(["-"])


def test_a_name_with_a_zero_in_it():
    with pytest.raises(InputError, match="cannot be read"):
        read_text(["a\0b"])


def test_a_line_of_a_whole_block_keeps_its_end(tmp_path):
    path = tmp_path / "text"
    path.write_text("a line\nthe last one ends with a space ")
    for block in (3, 7, 31, 1000):
        assert "".join(TextStream([str(path)], block).blocks()) == path.read_text() + "\n"


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


PROGRAM = """
import resource, sys
from minillm.cli import main

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

run, short, long = sys.argv[1:]
assert main(["eval", run, short]) == 0
before = peak()
assert main(["eval", run, long]) == 0
print(peak() - before)
"""


@pytest.mark.deep
@pytest.mark.parametrize("unit", [pytest.param("word", marks=pytest.mark.deep), "character"])
def test_a_line_of_megabytes_takes_at_most_four_times_its_size(tmp_path, unit):
    pytest.importorskip("resource", reason="only Unix tells a process its memory")
    run, short, long = (str(tmp_path / name) for name in ("run", "short", "long"))
    size = 20_000_000
    with open(short, "w") as file:
        file.write("the cat sat on the mat .\n" * 60)
    with open(long, "w") as file:
        file.write("the cat sat on the mat . " * (size // 25))
    assert main(["train", "ngram", short, "--out", run, "--order", "2", "--unit", unit]) == 0
    command = [sys.executable, "-c", PROGRAM, run, short, long]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 4 * size
