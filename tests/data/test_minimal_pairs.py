"""Minimal pairs: the built-in set, and files."""

from collections import Counter

import pytest

from minillm.data import minimal_pairs
from minillm.errors import InputError


def test_each_word_of_the_built_in_set_is_right_as_often_as_wrong():
    pairs = minimal_pairs.read(minimal_pairs.NAME)
    assert Counter(pair.group for pair in pairs) == dict.fromkeys(minimal_pairs.FRAMES, 12)
    assert len({pair.good for pair in pairs}) == len(pairs)
    right, wrong = Counter(), Counter()
    for good, bad, group, _ in pairs:
        [(one, other)] = [
            two for two in zip(good.split(), bad.split(), strict=True) if len({*two}) > 1
        ]
        right[group, one] += 1
        wrong[group, other] += 1
    assert right == wrong


def test_files_of_columns_and_of_json_lines(tmp_path):
    lines = {
        "pairs.tsv": "it is\tit are\nan ox\ta ox\tarticle\n",
        "pairs.jsonl": '{"good": "it is", "bad": "it are"}\n\n'
        '{"sentence_good": "an ox", "sentence_bad": "a ox", "UID": "article", "field": 3}\n',
    }
    for name, text in lines.items():
        (tmp_path / name).write_text(text)
        read = minimal_pairs.read(tmp_path / name)
        assert [pair[:3] for pair in read] == [
            ("it is", "it are", ""),
            ("an ox", "a ox", "article"),
        ]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("x.tsv", "it is\tit are\nit is\n", "line 2: expected good<TAB>bad or .*, found no tab"),
        ("x.tsv", "a\tb\tc\td\n", "line 1: .*, found 3 tabs"),
        ("x.tsv", "it is\t \n", "line 1: expected a good and a bad sentence, found no bad one"),
        ("x.tsv", "it is\tit is\n", "line 1: .* found two equal ones"),
        ("x.tsv", "", "expected lines of text, found an empty file"),
        ("x.jsonl", '{"good": "it is"}\n', "line 1: .* found no bad one"),
        ("x.jsonl", '{"good": 1, "bad": "b"}\n', "line 1: .*good"),
        ("x.jsonl", "\n", "expected pairs of sentences, found none"),
    ],
)
def test_wrong_files(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"x\\.[a-z]+(, |: ){complaint}"):
        minimal_pairs.read(tmp_path / name)
