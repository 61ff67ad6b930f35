"""Files of scored pairs and of analogies, malformed ones too."""

import pytest

from minillm.data.word_sets import read_analogies, read_scored_pairs
from minillm.errors import InputError


def written(tmp_path, text):
    path = tmp_path / "set"
    path.write_text(text)
    return str(path)


def test_scored_pairs_between_tabs_commas_or_spaces(tmp_path):
    path = written(
        tmp_path, "# a comment\nword1\tword2\tscore\nred\tblue\t9\n\none,two,8\na b -1.5\n"
    )
    assert read_scored_pairs(path) == [("red", "blue", 9), ("one", "two", 8), ("a", "b", -1.5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red blue 1\nred x\n", "line 2: expected two words and a score, found 'red x'"),
        ("a b 1\n\na b c\n", "line 3: expected two words and a score, found 'a b c'"),
        ("only\na heading\n", "expected lines of two words and a score, found none"),
    ],
)
def test_malformed_pairs_are_named(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_scored_pairs(path)
    assert str(caught.value).startswith(path)


def test_analogies_by_section(tmp_path):
    path = written(
        tmp_path, "a b c d\n: capitals\nOslo Norway Rome Italy\n\n: none\n: more\ne f g h\n"
    )
    assert read_analogies(path) == {
        "questions": [("a", "b", "c", "d")],
        "capitals": [("Oslo", "Norway", "Rome", "Italy")],
        "more": [("e", "f", "g", "h")],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (": colours\nred green red\n", "line 2: expected four words, found 'red green red'"),
        (": colours\n", "expected lines of four words, found none"),
    ],
)
def test_malformed_analogies_are_named(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_analogies(path)
    assert str(caught.value).startswith(path)
