"""Words that a source adds: ids, spellings, spaces."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minillm.text import vocabulary_from_dict
from minillm.text.open_words import OpenWords

TEXTS = st.text("abAB .,-'\n(é", max_size=60)


def of(*texts, **limits):
    return OpenWords.from_texts(texts, **limits)


@given(TEXTS, TEXTS)
def test_every_word_of_a_source_can_be_written(known, source):
    vocabulary = of(known)
    ids = vocabulary.encode(source)
    assert not {vocabulary.unknown, len(vocabulary)} & {*ids.tolist()}  # no EOS
    written = vocabulary.write(ids, source)
    assert vocabulary.split(written.lower()) == vocabulary.split(source.lower())


@given(TEXTS, TEXTS)
def test_a_source_written_with_the_weights_of_its_positions_is_itself(known, source):
    vocabulary = of(known)
    ids = vocabulary.encode(source)
    written = vocabulary.write(ids, source, np.eye(len(ids)))
    assert written == " ".join(source.strip(" \n").split("\n")) or "\n" in source


@given(TEXTS, TEXTS, TEXTS)
def test_a_target_has_the_ids_of_its_source(known, source, target):
    vocabulary = of(known)
    same = dict(zip(vocabulary.split(source.lower()), vocabulary.encode(source), strict=True))
    words = vocabulary.split(target.lower())
    for word, number in zip(words, vocabulary.encode_target(target, source), strict=True):
        if word in vocabulary.tokens:
            assert vocabulary.tokens[number] == word
        else:
            assert number == same.get(word, vocabulary.unknown)


@given(TEXTS, st.integers(0, 9))
def test_the_end_of_a_source_that_is_not_read_adds_no_word(source, most):
    vocabulary = of("a b")
    target = vocabulary.encode_target(source, source, most)
    added = {number for number in target.tolist() if number > len(vocabulary)}
    assert added <= {*vocabulary.encode(source)[:most].tolist()}


def test_new_words_are_numbered_in_the_order_of_the_source():
    vocabulary = of("please call")
    assert vocabulary.encode("Eve, please call Ada: Eve").tolist() == [4, 5, 2, 1, 6, 7, 4]


def test_the_spelling_is_the_most_frequent_one_or_that_of_the_source():
    vocabulary = of("NASA nasa NASA")
    assert vocabulary.tokens == ["<unk>", "nasa"]
    assert vocabulary.decode(vocabulary.encode("nasa")) == "NASA"
    assert vocabulary.write([1], "from Nasa") == "Nasa"


def test_neighbours_keep_their_spaces_and_others_have_spaces_as_in_english():
    vocabulary = of("on at")
    source = "Meeting 10/30/01 (room 5)\nnext"
    ids = vocabulary.encode(source)
    date = ids[1:6]
    assert vocabulary.write(date, source) == "10/30/01"
    assert vocabulary.write([vocabulary.encode("on")[0], *date], source) == "on 10/30/01"
    assert vocabulary.write([ids[-1], *ids[6:8]], source) == "next (room"


def test_of_several_positions_the_one_with_the_largest_weight_is_copied():
    vocabulary = of("x")
    source = "Call CALL call"
    ids = vocabulary.encode(source)
    assert vocabulary.write(ids[:1], source, np.array([[0.1, 0.7, 0.2]])) == "CALL"


def test_the_json_form_has_everything():
    vocabulary = of("Please call", maximum_size=2)
    again = vocabulary_from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert (again.tokens, again.forms) == (vocabulary.tokens, vocabulary.forms)
