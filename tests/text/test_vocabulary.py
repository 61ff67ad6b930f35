"""The properties of every vocabulary, whatever its tokens are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.text import (
    BytePairs,
    Characters,
    Vocabulary,
    WordPieces,
    Words,
    banned_ids,
    bpe,
    build_vocabulary,
    byte_pairs,
    opening_id,
    vocabulary_from_dict,
    word_pieces,
)

UNITS = ["character", "word", "token"]
TEXTS = st.text(st.sampled_from("abc 3.,'\u2019“”()-$%\n_é€😀<unk>"), min_size=1, max_size=60)


def built(unit, text):
    return build_vocabulary([text], unit)


HALF = "\ud800"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Characters(["a", HALF]),
        lambda: Characters.from_text(f"a{HALF}"),
        lambda: Words(["<unk>", HALF]),
        lambda: Words.from_text(f"a {HALF}"),
        lambda: BytePairs([], [HALF]),
        lambda: BytePairs([], ["<x>", f"<{HALF}>"]),
        lambda: byte_pairs.train(["a"], 300, [HALF]),
        lambda: WordPieces([*word_pieces.SPECIALS, HALF]),
        lambda: build_vocabulary(["a"], "word", always=[HALF]),
        lambda: build_vocabulary(["a"], "character", held_out=[HALF]),
    ],
)
def test_a_token_that_no_file_can_hold_is_refused(make):
    """A run with it would be written, and could not be opened again."""
    with pytest.raises(ValueError, match=r'^"(tokens|specials)": expected text, found half of a'):
        make()


def test_words_of_a_lone_surrogate_are_refused():
    with pytest.raises(InputError, match=r"^text, line 1, column 2: .* found a lone surrogate"):
        bpe.split_words(f"a{HALF}")


@pytest.mark.parametrize("unit", UNITS)
@given(text=TEXTS)
def test_split_and_encode_agree(unit, text):
    vocabulary = built(unit, text)
    tokens, ids = vocabulary.split(text), vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert [vocabulary.decode([id]) for id in ids] == tokens
    assert vocabulary.encode_known(text).tolist() == ids.tolist()
    other = built(unit, "other")
    assert other.split(text) == tokens  # whether it has them or not


@pytest.mark.parametrize("unit", UNITS)
@given(text=TEXTS)
def test_decoded_text_encodes_to_the_same_ids(unit, text):
    vocabulary = built(unit, text)
    ids = vocabulary.encode(text).tolist()
    assert vocabulary.encode(vocabulary.decode(ids)).tolist() == ids


@pytest.mark.parametrize("unit", UNITS)
@given(data=st.data())
def test_the_pieces_of_a_stream_are_the_decoded_text(unit, data):
    text = data.draw(TEXTS)
    vocabulary = built(unit, text)
    ids = data.draw(st.lists(st.integers(0, len(vocabulary) - 1)))
    names = data.draw(st.lists(st.sampled_from(["Ada", "Bo", "."]), max_size=3))
    pieces = list(vocabulary.stream(iter(ids), names))
    assert len(pieces) == len(ids)
    assert "".join(pieces) == vocabulary.decode(ids, names)


@pytest.mark.parametrize("unit", UNITS)
def test_pieces_come_as_soon_as_their_ids(unit):
    vocabulary = built(unit, "a b")
    asked = []

    def ids():
        for id in vocabulary.encode("a b"):
            asked.append(id)
            yield id

    pieces = vocabulary.stream(ids())
    assert next(pieces) == "a"
    assert len(asked) == 1


@pytest.mark.parametrize("unit", UNITS)
@given(text=TEXTS)
def test_json_keeps_it(unit, text):
    vocabulary = built(unit, text)
    again = vocabulary_from_dict(vocabulary.to_dict())
    assert again.to_dict() == vocabulary.to_dict()
    assert again.encode(text).tolist() == vocabulary.encode(text).tolist()


@pytest.mark.parametrize("unit", UNITS)
@given(text=TEXTS)
def test_labels_are_visible_and_on_one_line(unit, text):
    vocabulary = built(unit, text + "\n\t ")
    for id in range(len(vocabulary)):
        label = vocabulary.show(id)
        assert label.isprintable()
        assert label.strip() == label != ""


def test_specials():
    characters: Vocabulary = Characters("\nab")
    words: Vocabulary = Words(["<unk>", "a", "\n"])
    plain: Vocabulary = Words(["<unk>", "a"])
    assert (characters.line_end, words.line_end, plain.line_end) == (0, 2, None)
    assert (characters.sentence_end, words.sentence_end, plain.sentence_end) == (None, 2, None)
    assert (characters.unknown, words.unknown) == (None, 0)
    for vocabulary in (characters, words, plain):
        assert vocabulary.bos is vocabulary.eos is vocabulary.padding is None
    assert [opening_id(v) for v in (characters, words, plain, Characters("ab"))] == [0, 2, 0, 0]
    assert banned_ids(characters) == []
    assert banned_ids(words) == [0]


def test_specials_of_a_vocabulary_that_has_them_all():
    class Tokens(Words):
        bos, padding, eos = 1, 2, 4

    tokens = Tokens(["<unk>", "<s>", "<pad>", "\n", "</s>"])
    assert (opening_id(tokens), opening_id(tokens, documents=True)) == (3, 1)
    assert banned_ids(tokens) == [0, 1, 2, 4]
    assert banned_ids(tokens, documents=True) == [0, 1, 2]


def test_held_out_texts_count_where_nothing_can_be_unknown():
    assert build_vocabulary(["ab"], "character", held_out=["c"]).encode("c").tolist() == [2]
    words = build_vocabulary(iter(["b b a"]), "word", minimum_count=2, held_out=["c c c"])
    assert words.to_dict()["tokens"] == ["<unk>", "b"]
    with pytest.raises(InputError, match="'c'"):
        words.encode_known("c")


@pytest.mark.parametrize("maximum_size", [None, 2, 3, 4])
def test_some_words_have_an_id_in_any_case(maximum_size):
    words = build_vocabulary(["b b a a a\n"], "word", 2, maximum_size, always=["\n"])
    assert words.to_dict()["tokens"] == ["<unk>", "\n", "a", "b"][:maximum_size]
    assert words.line_end == 1


def test_words_that_always_have_an_id_are_special_tokens_among_byte_pairs():
    pairs = build_vocabulary(["an ant and an ant"], "bpe", maximum_size=260, always=["<mask>"])
    assert len(pairs) == 260
    assert pairs.encode("ant<mask>").tolist()[-1] == pairs.mask == 259
    assert pairs.decode([pairs.mask]) == "<mask>"
    again = vocabulary_from_dict(pairs.to_dict())
    assert again.mask == pairs.mask
    assert build_vocabulary(["an ant"], "bpe", maximum_size=260).mask is None


def test_units():
    text = "Don't. <eos>"
    assert build_vocabulary([text], "word").split(text) == ["Don't", ".", "<", "eos", ">"]
    assert build_vocabulary([text], "token").split(text) == ["Don't.", "<eos>"]
    assert build_vocabulary([text], "token").pretokenised
    assert not build_vocabulary([text], "word").pretokenised
    assert build_vocabulary([text], "character").split("a b") == ["a", " ", "b"]
    with pytest.raises(
        ValueError, match="unit: expected one of character, word, token, bpe, wordpiece"
    ):
        build_vocabulary([text], "syllable")


@pytest.mark.parametrize("id", [-1, 3, 1.7])
def test_an_id_without_a_token_is_not_another_token(id):
    """A negative id would be counted from the end."""
    for vocabulary in (Characters(["a", "b", "c"]), BytePairs([])):
        with pytest.raises((IndexError, TypeError)):
            vocabulary.decode([id if id != 3 else len(vocabulary)])
