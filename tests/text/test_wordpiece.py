"""Pieces of words: against their definitions, and as a vocabulary."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.text import WordPieces, banned_ids, wordpiece
from minillm.text.bpe import join
from minillm.text.word_pieces import _RUN, SPECIALS, alphabet, learn_pieces, train
from minillm.text.wordpiece import CharacterTable, basic_tokens, split_word

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


def test_texts_are_cut_only_where_words_end():
    """Each character of the first plane between two letters."""
    every = "a".join(chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    table = CharacterTable(True)
    words = [word for run in _RUN.findall(every) for word in basic_tokens(run, table)]
    assert words == basic_tokens(every, table)
    assert len(words) > 50_000


# --- training


@given(WORDS, st.integers(0, 25))
def test_pieces_are_learned_as_defined(words, number):
    assert learn_pieces(words, number) == wordpiece.learn_pieces(words, number)


def test_a_piece_is_the_pair_that_gains_the_most_not_the_most_frequent():
    """##a stands everywhere: what stands beside it says little."""
    words = {"xa": 20, "ya": 20, "za": 20, "qu": 19, "a": 3}
    assert learn_pieces(words, 1) == ["qu"]


@given(WORDS)
def test_the_gain_is_the_rise_of_the_likelihood(words):
    """Counted before and after, for each pair; also of a piece with itself."""
    texts = {word: wordpiece.spell(word) for word in words}

    def pieces_and_likelihood(texts):
        counts = Counter()
        for word, pieces in texts.items():
            counts.update({piece: pieces.count(piece) * words[word] for piece in set(pieces)})
        n = np.array(list(counts.values()), float)
        return counts, float((n * np.log(n / n.sum())).sum())

    counts, before = pieces_and_likelihood(texts)
    for pair in {pair for pieces in texts.values() for pair in wordpiece.neighbours(pieces)}:
        joined = {word: join(pieces, pair, "new") for word, pieces in texts.items()}
        after_counts, after = pieces_and_likelihood(joined)
        (left, right), total = pair, counts.total()
        made = sum(words[w] for w, p in texts.items() for q in wordpiece.neighbours(p) if q == pair)
        assert made == after_counts["new"]
        rise = wordpiece.gain(made, counts[left], counts[right], total, left == right)
        assert rise == pytest.approx(after - before, abs=1e-9)


def test_neighbours_by_chance_lose():
    """To first order their number, which ranking by n log r would leave out."""
    assert wordpiece.gain(1, 10, 10, 100) == pytest.approx(-0.902, abs=1e-3)
    n, a, b, total = 10, 3_000, 4_000, 100_000
    first = n * (np.log(total * n / (a * b)) - 1)
    assert wordpiece.gain(n, a, b, total) == pytest.approx(first, rel=1e-2)


def test_of_equal_gains_the_first_pair():
    assert learn_pieces({"ba": 2, "ab": 2}, 2) == ["ab", "ba"]


def test_pairs_that_occur_once_or_gain_nothing_are_not_merged():
    assert learn_pieces({"ab": 1, "cd": 1}, 9) == []
    words = {"a": 100, "ab": 2, "cb": 1, "db": 1, "eb": 1, "fb": 1}  # most pieces are an a
    assert learn_pieces(words, 9) == []


def test_a_pair_whose_piece_exists_is_not_merged():
    words = {"abc": 9, "ab": 20, "xbc": 15, "bc": 9, "xa": 30, "abcabc": 7}
    pieces = learn_pieces(words, 30)
    assert len(pieces) == len(set(pieces))
    assert pieces == wordpiece.learn_pieces(words, 30)


def test_the_alphabet():
    """Both pieces of a character within words; nothing that is very rare, nor more than asked."""
    assert alphabet({"ab": 3, "!": 2, "c": 1}, 9) == ["!", "##a", "##b", "a", "b", "c"]
    assert alphabet({"ab": 3, "!": 2, "c": 1}, 3) == ["##a", "a", "b"]
    assert alphabet({"a": 2_000_000, "b": 3, "c": 1}, 9) == ["a", "b"]


def test_sizes():
    assert len(train([SEA], 12)) == 12
    assert train([SEA], 12).encode("q!").tolist() == [1, 1]
    assert train(["ab ab"], 100).tokens == [*SPECIALS, "##a", "##b", "a", "b", "ab"]
    assert train([], 10).tokens == list(SPECIALS)
    with pytest.raises(ValueError, match="at least 7, found 6"):
        train([SEA], 6)
    with pytest.raises(InputError, match="lone surrogate"):
        train(["\ud800"], 10)


def test_special_tokens_and_long_words_are_not_learned_from(cased):
    """Case is learned only if lower_case is False."""
    assert train(["[MASK] [MASK] qq qq"], 99).tokens[5:] == ["##q", "q", "qq"]
    assert train(["x" * 101 + " qq qq"], 99).tokens[5:] == ["##q", "q", "qq"]
    assert train(["\u00c9\u00e9 \u00c9\u00e9"], 99).tokens[-1] == "ee"
    assert train(["\u00c9\u00e9 \u00c9\u00e9"], 99, lower_case=False).tokens[-1] == "\u00c9\u00e9"


# --- the vocabulary


def test_specials(tokenizer):
    assert tokenizer.tokens[:5] == list(SPECIALS)
    ids = (tokenizer.padding, tokenizer.unknown, tokenizer.bos, tokenizer.eos, tokenizer.mask)
    assert ids == (0, 1, 2, 3, 4)
    assert tokenizer.encode("[CLS]sea[MASK]sea [SEP][PAD]").tolist() == [
        *(2, *tokenizer.encode("sea"), 4, *tokenizer.encode("sea"), 3, 0)
    ]
    assert banned_ids(tokenizer) == [0, 1, 2, 3]


@given(TEXTS)
def test_the_longest_piece_first(tokenizer, cased, text):
    for one in (tokenizer, cased):
        table = CharacterTable(one.lower_case)
        words = basic_tokens(text, table)
        expected = [piece for word in words for piece in split_word(word, one.tokens)]
        ids = one.encode(text)
        assert [one.tokens[id] for id in ids] == expected
        assert ids.dtype == np.int32


def test_words_that_are_too_long(tokenizer):
    once = WordPieces([*SPECIALS, "a", "##a", "b" * 101])
    assert once.encode("a" * 100).tolist() == [5] + [6] * 99
    assert once.encode("a" * 101).tolist() == [1]
    assert once.encode("b" * 101).tolist() == [1]
    assert once.encode_with_offsets(" " + "a" * 101)[1].tolist() == [[1, 102]]


def test_a_text_without_white_space_takes_no_time(tokenizer):
    text = "漢字" * 5_000
    assert len(tokenizer.encode(text)) == 10_000
    assert tokenizer._remembered.cache_info().currsize < 1000  # it is not kept


def test_long_texts_and_more_words_than_are_kept(tokenizer, monkeypatch):
    """Texts are taken in blocks, which end at what is white space here, not for Python."""
    monkeypatch.setattr("minillm.text.words._BLOCK", 10)
    monkeypatch.setattr("minillm.text.word_pieces._REMEMBERED", 5)
    once = WordPieces(tokenizer.tokens)
    text = SEA + "sea\x0bshells sea\x0cshells sea\x1cshells  sea\x85shells " * 3
    expected = [once.tokens[id] for id in tokenizer.encode(text)]
    assert once.split(text) == [once.tokens[id] for id in once.encode(text)] == expected
    assert once._remembered.cache_info().currsize <= 5


def test_decoded_texts():
    one = WordPieces([*SPECIALS, "un", "##able", "!", "sea"])
    assert one.decode([5, 6, 8, 7]) == "unable sea!"
    assert one.decode([6, 5]) == "##able un"
    assert one.decode([5, 1, 1, 1], ["Zoë", "##x"]) == "un Zoë ##x [UNK]"


def test_unknown_words():
    one = WordPieces([*SPECIALS, "sea"])
    assert one.split("sea Zoë [UNK] !") == ["sea", "Zoë", "[UNK]", "!"]
    assert one.encode_known("SEA [UNK]", "FILE").tolist() == [5, 1]
    message = r"^FILE: the word 'Zoë' cannot be made of the 6 pieces that the model knows$"
    with pytest.raises(InputError, match=message):
        one.encode_known("sea [UNK] Zoë", "FILE")
