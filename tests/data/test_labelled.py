"""Labelled texts from a file or from folders, malformed ones too."""

import pytest

from minillm.data.labelled import labels_of, open_labelled, read_labelled
from minillm.errors import InputError


def test_lines_and_folders_read_alike(tmp_path):
    file = tmp_path / "texts.tsv"
    file.write_text("good\ta fine day\nbad\train  again\n")
    assert list(read_labelled(file)) == [("good", "a fine day"), ("bad", "rain again")]
    for label, text in (("good", "a fine\nday\n"), ("bad", "rain again")):
        (tmp_path / "texts" / label).mkdir(parents=True)
        (tmp_path / "texts" / label / "1.txt").write_text(text)
    assert list(read_labelled(tmp_path / "texts")) == [
        ("bad", "rain again"),
        ("good", "a fine day"),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\tb\nc\n", "line 2: expected label<TAB>text, found no tab"),
        ("a\tb\tc\n", "line 1: expected label<TAB>text, found 2 tabs"),
        ("a\t\n", "expected a label with a text, found none"),
        ("\tb\n", "line 1: expected a label and a text, found an empty label"),
        ('{"text": "a", "label": ""}', "line 1: expected a label and a text, found an empty la"),
    ],
)
def test_malformed_lines_are_named(tmp_path, data, message):
    file = tmp_path / ("texts.jsonl" if data.startswith("{") else "texts.tsv")
    file.write_text(data)
    with pytest.raises(InputError, match=message):
        list(read_labelled(file))


def test_json_lines_are_read(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a fine\\nday", "label": " good"}\n{"label": "bad", "text": ""}\n')
    assert list(read_labelled(file)) == [("good", "a fine day")]


def test_a_label_without_a_text_is_left_out(tmp_path):
    file = tmp_path / "texts.tsv"
    file.write_text("a\tone\nb\t \nb\ttwo\n")
    assert list(read_labelled(file)) == [("a", "one"), ("b", "two")]
    file.write_text(file.read_text() + "a\tthree\n" * 9)
    assert labels_of(open_labelled(file)) == ["a", "b"]


def test_folders_without_labels_or_texts(tmp_path):
    with pytest.raises(InputError, match="a folder for each label, found none"):
        list(read_labelled(tmp_path))
    (tmp_path / "good").mkdir()
    with pytest.raises(InputError, match="a file for each text, found none"):
        list(read_labelled(tmp_path))


def test_every_tenth_of_each_label_is_held_out(tmp_path):
    file = tmp_path / "texts.tsv"
    file.write_text("".join(f"{'ab'[k % 3 == 0]}\ttext {k}\n" for k in range(60)))
    data = open_labelled(file)
    assert labels_of(data) == ["a", "b"]
    held_out = data["validation"]
    assert [label for label, _ in held_out].count("a") == 4
    assert [label for label, _ in held_out].count("b") == 2
    assert sorted([*data["training"], *held_out]) == sorted(read_labelled(file))
    one = tmp_path / "one.tsv"
    one.write_text("a\tb\n" * 20)
    with pytest.raises(InputError, match="two labels or more, found 1"):
        open_labelled(one)
