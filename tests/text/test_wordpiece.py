"""Pieces of words: against their definitions, against the reference library, as a vocabulary."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.text import WordPieces, banned_ids, build_vocabulary, vocabulary_from_dict
from minillm.text.wordpiece import (
    LONGEST,
    SPECIALS,
    CharacterTable,
    basic_tokens,
    is_ideograph,
    is_punctuation,
    learn_pieces,
    learn_pieces_naively,
    train,
)

SEA = "She sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure.\n"
HARD = "abAB'#[]s.éÉe\u0301 \n\t\x0b\x00\xa0\u200b\u3000\u2028漢\uf900ガ가각İß!$€😀\ufffd"
TEXTS = st.one_of(st.text(max_size=40), st.text(st.sampled_from(HARD), max_size=40))
WORDS = st.dictionaries(
    st.text(st.sampled_from("abc"), min_size=1, max_size=8), st.integers(1, 5), max_size=8
)


@pytest.fixture(scope="module")
def tokenizer():
    return train([SEA * 3, "é😀 é😀 각각 漢字漢字 don't"], 120)


@pytest.fixture(scope="module")
def cased():
    tokens = [*SPECIALS, *HARD.split(), "A", "B", "##A", "##B", "##b", "##é", "##É", "##ab"]
    return WordPieces(list(dict.fromkeys(tokens)), lower_case=False)


# --- words


def words_by_definition(text, lower_case, strip_accents, split_ideographs):
    """One character after the other, a step after the other, as BERT's tokenizer is described."""
    cleaned = ""
    for c in text:
        if c in "\t\n\r" or unicodedata.category(c) in ("Zs", "Zl", "Zp"):
            cleaned += " "
        elif unicodedata.category(c) not in ("Cc", "Cf", "Co") and c != "\ufffd":
            cleaned += f" {c} " if split_ideographs and is_ideograph(c) else c
    words = []
    for word in cleaned.split(" "):
        if strip_accents:
            parts = (unicodedata.normalize("NFD", c) for c in word)
            word = "".join(c for c in "".join(parts) if unicodedata.category(c) != "Mn")
        if lower_case:
            word = "".join(c.lower() for c in word)
        words.append("".join(f" {c} " if is_punctuation(c) else c for c in word))
    return " ".join(words).split()


@given(TEXTS, st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_words_are_cut_as_defined(text, options):
    assert basic_tokens(text, CharacterTable(*options)) == words_by_definition(text, *options)


def test_words_of_hard_texts():
    assert basic_tokens("Élodie's naïve\u00ad café\u0301!") == [
        "elodie",
        "'",
        "s",
        "naive",
        "cafe",
        "!",
    ]
    assert basic_tokens("a\x0bb\x1cc\x85d\u200de\x00f\ufffdg\ue000h") == ["abcdefgh"]
    assert basic_tokens("a\u3000b\u2028c\xa0d\u1680e\rf") == list("abcdef")
    letters = unicodedata.normalize("NFD", "서울")  # of Hangul, which have no accents
    assert basic_tokens("東京タワー 서울") == ["東", "京", "タワー", letters]
    assert basic_tokens("a$b€c^d—e¿") == ["a", "$", "b€c", "^", "d", "—", "e", "¿"]
    assert basic_tokens("İIŞß ΟΔΟΣ ≠") == ["iisß", "οδοσ", "="]
    assert basic_tokens("É É", CharacterTable(True, False, True)) == ["é", "é"]
    assert basic_tokens("東京", CharacterTable(True, True, False)) == ["東京"]


# --- training


@given(WORDS, st.integers(0, 25))
def test_pieces_are_learned_as_defined(words, number):
    assert learn_pieces(words, number) == learn_pieces_naively(words, number)


def test_a_piece_is_the_pair_that_gains_the_most_not_the_most_frequent():
    """##a stands everywhere: what stands beside it says little."""
    words = {"xa": 20, "ya": 20, "za": 20, "qu": 19, "a": 3}
    assert learn_pieces(words, 1) == ["qu"]


def test_of_equal_gains_the_first_pair():
    assert learn_pieces({"ba": 2, "ab": 2}, 2) == ["ab", "ba"]


def test_training_is_deterministic():
    texts = [SEA, "more of the sea, and more shells", "漢字 é"]
    first, again = (train(iter(order), 60).to_dict() for order in (texts, texts[::-1]))
    assert first == again


# --- the vocabulary


def test_specials(tokenizer):
    assert tokenizer.tokens[:5] == list(SPECIALS)
    ids = (tokenizer.pad, tokenizer.unknown, tokenizer.cls, tokenizer.sep, tokenizer.mask)
    assert ids == (0, 1, 2, 3, 4)
    assert tokenizer.encode("[CLS]sea[MASK]sea [SEP][PAD]").tolist() == [
        *(2, *tokenizer.encode("sea"), 4, *tokenizer.encode("sea"), 3, 0)
    ]
    assert banned_ids(tokenizer) == [0, 1, 2, 3]


def test_json_keeps_it(tokenizer, cased):
    for one in (tokenizer, cased):
        again = vocabulary_from_dict(json.loads(json.dumps(one.to_dict())))
        assert again.to_dict() == one.to_dict()
        text = SEA + "[MASK] éÉ漢字"
        assert again.encode(text).tolist() == one.encode(text).tolist()


def pieces_by_definition(tokenizer, word):
    pieces, rest, prefix = [], word, ""
    while rest and len(word) <= LONGEST:
        fitting = [n for n in range(1, len(rest) + 1) if prefix + rest[:n] in tokenizer.tokens]
        if not fitting:
            return ["[UNK]"]
        pieces.append(prefix + rest[: max(fitting)])
        rest, prefix = rest[max(fitting) :], "##"
    return pieces or ["[UNK]"]


@given(TEXTS)
def test_the_longest_piece_first(tokenizer, cased, text):
    for one in (tokenizer, cased):
        table = CharacterTable(one.lower_case, one.strip_accents, one.split_ideographs)
        words = basic_tokens(text, table)
        expected = [piece for word in words for piece in pieces_by_definition(one, word)]
        ids = one.encode(text)
        assert [one.tokens[id] for id in ids] == expected
        assert ids.dtype == np.int32


@given(TEXTS)
def test_offsets_are_where_the_pieces_stand(tokenizer, cased, text):
    for one in (tokenizer, cased):
        ids, offsets = one.encode_with_offsets(text)
        assert ids.tolist() == one.encode(text).tolist()
        assert offsets.shape == (len(ids), 2)
        assert (offsets[:, 0] < offsets[:, 1]).all()
        assert (np.diff(offsets, axis=0) >= 0).all()
        table = CharacterTable(one.lower_case, one.strip_accents, one.split_ideographs)
        for id, (start, end) in zip(ids, offsets, strict=True):
            piece = one.tokens[id].removeprefix("##")
            if id != one.unknown:
                assert piece in "".join(basic_tokens(text[start:end], table))


def test_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(InputError, match=r"FILE, line 2, column 2: .*lone surrogate"):
        tokenizer.encode("a\nb\ud800", "FILE")


def test_units():
    assert build_vocabulary([SEA], "wordpiece", maximum_size=60).unit == "wordpiece"
