"""Every reader of a file: what it reads, and what it says of a file or a line that is wrong."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from minillm.data import files, read_text
from minillm.data.conversations import form_of, read_conversations
from minillm.data.corpora import TextStream
from minillm.data.labelled import read_labelled
from minillm.data.lines import read_lines
from minillm.data.pairs import read_pairs
from minillm.data.word_sets import read_analogies, read_scored_pairs
from minillm.errors import InputError

ASKED, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


class Reader(NamedTuple):
    read: Callable[[str], Any]
    good: str  # a file that it reads
    found: list[Any]


def objects(*rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


READERS = {
    "lines": Reader(lambda path: [line for line, _ in read_lines(path)], "a\n \ndrei €\n",
        ["a", " ", "drei €"]),
    "text": Reader(lambda path: [read_text([path])], "one\ntwo €\n", ["one\ntwo €\n"]),
    "stream": Reader(lambda path: ["".join(TextStream([path], 3).blocks())], "one\ntwo €\n",
        ["one\ntwo €\n"]),
    "pairs.tsv": Reader(read_pairs, "one \tun\ntwo words\t deux mots\n",
        [("one", "un"), ("two words", "deux mots")]),
    "pairs.jsonl": Reader(read_pairs,
        objects({"source": "one ", "target": "un", "id": 1}, {"target": "d\tm", "source": "two"}),
        [("one", "un"), ("two", "d\tm")]),
    "labelled.tsv": Reader(
        read_labelled,
        "good\ta fine day\nbad\t \nbad\train  again\n",  # a label without a text is left out
        [("good", "a fine day"), ("bad", "rain again")],
    ),
    "labelled.jsonl": Reader(read_labelled,
        objects({"text": "a fine\nday", "label": " good"}, {"label": "bad", "text": ""}),
        [("good", "a fine day")]),
    "scored": Reader(read_scored_pairs,
        "word1\tword2\tscore\nred\tblue\t9\n\n# a comment\none,two,8\na b -1.5\n",
        [("red", "blue", 9), ("one", "two", 8), ("a", "b", -1.5)]),
    "analogies": Reader(
        lambda path: list(read_analogies(path).items()),
        "a b c d\n: capitals\nOslo Norway Rome Italy\n\n: none\n: more\ne f g h\n",
        [
            ("questions", [("a", "b", "c", "d")]),
            ("capitals", [("Oslo", "Norway", "Rome", "Italy")]),
            ("more", [("e", "f", "g", "h")]),
        ],
    ),
    "conversations.jsonl": Reader(
        lambda path: [one.messages for one in read_conversations(path)],
        objects(
            {"messages": [ASKED, ANSWER | {"name": "x"}], "id": 3},
            {"prompt": "a", "completion": "b"},
            {"prompt": [ASKED], "completion": [ANSWER]},
            {"prompt": "a", "completion": [ASKED, ANSWER]},
        ),
        [[ASKED, ANSWER]] * 4,
    ),
    "preferences.jsonl": Reader(
        lambda path: [(one.messages, one.rejected) for one in read_conversations(path)],
        objects({"prompt": "a", "chosen": "b", "rejected": [ASKED, ANSWER]}),
        [([ASKED, ANSWER], [ASKED, ANSWER])],
    ),
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Writes a file of a reader, and returns its path."""

    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    return write


def refused(read, path):
    """The message of a reader, which is one line and begins with the name of the file."""
    with pytest.raises(InputError) as caught:
        list(read(path))
    message = str(caught.value)
    assert message.startswith(path)
    assert "\n" not in message
    return message.removeprefix(path)


@pytest.mark.parametrize("name", READERS)
def test_what_is_read(write, name):
    """Also after a byte order mark, with the line ends of Windows, and from a compressed file."""
    read, good, found = READERS[name]
    data = good.encode()
    packed = gzip.compress(data[:9]) + bytes(600) + gzip.compress(data[9:]) + bytes(9000)
    for form in (data, b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n"), packed):
        assert list(read(write(name, form))) == found


@pytest.mark.parametrize("name", READERS)
def test_what_every_reader_refuses(write, name):
    read, good, _ = READERS[name]
    data, line = good.encode(), good.count("\n") + 1
    packed = gzip.compress(data)
    no_block, no_digest = packed[:10] + b"\xff" + packed[11:], packed[:-8] + bytes(8)
    for wrong, message in (
        (data + b"a\xff\n", f", line {line}: expected UTF-8 text, found the byte 0xff"),
        (data + b"\xe2\x82", f", line {line}: expected UTF-8 text, found the byte 0xe2"),
        (data + b"\0", f", line {line}: expected UTF-8 text, found a zero byte: a binary file"),
        (b"", ": expected "),
        (packed[:5], ": expected a whole gzip file, found one that is cut short"),
        (packed[:-1], ": expected a whole gzip file, found one that is cut short"),
        (no_block, ": expected a gzip file, but it is damaged: "),
        (no_digest, ": expected a gzip file, but it is damaged: "),
        (packed + b"something else", ": expected a gzip file, but it is damaged: "),
    ):
        found = refused(read, write(name, wrong))
        assert found.startswith(message)
        assert wrong or found.endswith("found an empty file")
    assert refused(read, write(name, "")[:-1]) == ": there is no such file"


PREFERENCE = {"prompt": "a", "chosen": "b", "rejected": [ANSWER, ASKED]}


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("pairs.tsv", "c", "expected source<TAB>target, found no tab"),
        ("pairs.tsv", "a\tb\tc", "expected source<TAB>target, found 2 tabs"),
        ("pairs.tsv", "a\t ", "expected source and target, found an empty target"),
        ("pairs.jsonl", '{"source": "a", "target": ["b"]}', "target: expected str, found ['b']"),
        ("pairs.jsonl", '{"source": " ", "target": "b"}', "expected source and target, found an "),
        ("pairs.jsonl", '["a", "b"]', "expected a JSON object, found ['a', 'b']"),
        ("pairs.jsonl", '{"source": "\\ud800"}', "expected JSON, but it is damaged"),
        ("labelled.tsv", "\tb", "expected a label and a text, found an empty label"),
        ("labelled.jsonl", '{"text": "a", "label": ""}', "expected a label and a text, found an "),
        ("scored", "red x", "expected two words and a score, found 'red x'"),
        ("analogies", "red green red", "expected four words, found 'red green red'"),
        ("conversations.jsonl", {"messages": [ASKED]}, "expected a message of the assistant, fou"),
        (
            *("conversations.jsonl", {"messages": [ASKED, {"role": "tool"}]}),
            "messages[1].role: expected str matching regex",
        ),
        ("conversations.jsonl", {"prompt": 3}, "prompt: expected str | array, found 3"),
        ("conversations.jsonl", {"prompt": "a", "chosen": "b"}, 'expected "messages", "prompt"'),
        ("conversations.jsonl", PREFERENCE, "expected conversations only, as before, found a pref"),
        ("preferences.jsonl", PREFERENCE, "expected an answer as the last message of both"),
        ("preferences.jsonl", {"messages": [ANSWER]}, "expected preferences only, as before, fou"),
    ],
)
def test_a_wrong_line_is_named(write, name, line, message):
    read, good, _ = READERS[name]
    line = line if isinstance(line, str) else json.dumps(line)
    found = refused(read, write(name, f"{good}{line}\n"))
    assert found.startswith(f", line {good.count(chr(10)) + 1}: {message}")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("text", " \n\n", "expected text, found an empty file"),
        ("labelled.tsv", "a\t\n", "expected a label with a text, found none"),
        ("scored", "only\na heading\n", "expected lines of two words and a score, found none"),
        ("analogies", ": colours\n", "expected lines of four words, found none"),
        ("conversations.jsonl", "\n", "expected a conversation, found none"),
    ],
)
def test_a_file_without_an_entry_is_named(write, name, text, message):
    assert refused(READERS[name].read, write(name, text)) == f": {message}"


def test_files_of_lines_have_one_form_each(write):
    forms = {name: form_of(write(name, READERS[name].good)) for name in READERS if "." in name}
    both = {"conversations.jsonl": "conversation", "preferences.jsonl": "preference"}
    assert forms == dict.fromkeys(forms, "") | both
    with pytest.raises(InputError, match=r"s\.jsonl, line 1: expected conversations only"):
        list(read_conversations(*(write(name, READERS[name].good) for name in both)))


def test_files_are_joined_and_each_ends_its_last_line(write):
    assert read_text([write("a", "one\r\ntwo"), write("b", "three ")]) == "one\ntwo\nthree \n"


def test_a_folder_has_a_folder_for_each_label(tmp_path):
    for message in ("a folder for each label, found none", "a file for each text, found none"):
        with pytest.raises(InputError, match=message):
            list(read_labelled(tmp_path))
        (tmp_path / "good").mkdir(exist_ok=True)
    for label, text in (("good", "a fine\nday\n"), ("bad", "rain again")):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / "1.txt").write_text(text)
    assert list(read_labelled(tmp_path)) == [("bad", "rain again"), ("good", "a fine day")]


def test_a_line_that_is_too_long(write, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 20)
    path = write("lines", "a\n" + "b" * 20 + "\n")
    message = ", line 2: expected a line of at most 20 bytes, found a longer one"
    assert refused(read_lines, path) == message
    assert len(list(read_lines(write("lines", "a" * 19 + "\n")))) == 1  # with its end, 20


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input(monkeypatch, packed):
    data = gzip.compress(b"a\nb") if packed else b"a\nb"
    places = [("a", "standard input, line 1"), ("b", "standard input, line 2")]
    for form in (io.BytesIO, lambda data: io.BufferedReader(io.BytesIO(data))):
        for read, found in ((read_text, "a\nb\n"), (lambda path: [*read_lines(*path)], places)):
            monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": form(data)}))
            assert read(["-"]) == found
    monkeypatch.setattr(sys, "stdin", None)
    assert refused(lambda path: read_text(["-"]), "standard input") == (
        ": cannot be read: it is closed"
    )


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (str(tmp_path), str(tmp_path / "loop")):
        assert refused(read_lines, path).startswith(": cannot be read: ")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(["a\0b"])
