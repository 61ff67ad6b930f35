"""Byte pairs: against their definitions, against GPT-2, and as a vocabulary."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from minillm import use_kernels
from minillm.errors import InputError
from minillm.text import BytePairs, banned_ids, bpe, opening_id
from minillm.text.bpe import LONGEST, PATTERN, encode_word, join, split_words
from minillm.text.byte_pairs import encode_words, learn_merges, train, word_ends
from minillm.text.published import unspell
from minillm.unicode import without_late_letters

SEA = "she sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure.\n"
HARD = "ab'sdtrevml 1²\n\t\u2003\xa0.!é中\u0301😀٣ "
TEXTS = st.one_of(st.text(max_size=40), st.text(st.sampled_from(HARD), max_size=40))
WORDS = st.dictionaries(
    st.text(st.sampled_from("abc"), min_size=1, max_size=12).map(str.encode),
    st.integers(1, 5),
    max_size=10,
)

pytestmark = pytest.mark.usefixtures("both_twins")


@pytest.fixture(scope="module")
def tokenizer():
    return train([SEA * 3, "é😀 é😀"], 300)


# --- words


def cut(text):
    data = text.encode()
    return [data[a:b].decode() for a, b in pairwise([0, *word_ends(text).tolist()])]


def words_of(text):
    """The words that the pattern finds, where letters after Unicode 16.0 are signs."""
    ends = (word.end() for word in regex.finditer(PATTERN, without_late_letters(text)))
    return [text[a:b] for a, b in pairwise([0, *ends])]


@given(TEXTS)
def test_words_are_cut_as_the_pattern_says(text):
    assert cut(text) == words_of(text)
    assert word_ends(text).dtype == np.int64


@pytest.mark.deep
def test_every_character_has_its_class():
    """Each between two letters, so that its class shows."""
    text = "a".join(chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000)
    assert cut(text) == words_of(text)


def test_white_space_before_a_word():
    assert cut("a  b\n\n c \n") == ["a", " ", " b", "\n\n", " c", " \n"]
    assert split_words("a  b\n\n c \n") == [b"a", b" ", b" b", b"\n\n", b" c", b" \n"]
    assert split_words("I'll 'tis 'S 's") == [
        *(b"I", b"'ll", b" '", b"tis", b" '", b"S", b" '", b"s")
    ]
    assert split_words("") == []


# --- training


@given(
    st.one_of(
        WORDS, st.lists(st.binary(min_size=1, max_size=8), max_size=6).map(lambda w: Counter(w * 2))
    ),
    st.integers(0, 40),
)
def test_merges_are_learned_as_defined(words, number):
    assert learn_merges(words, number) == bpe.learn_merges(words, number)


def test_the_most_frequent_pair_first_then_the_order_of_bytes():
    assert learn_merges({b"ba": 2, b"ab": 2, b"cd": 3}, 3) == [
        *((b"c", b"d"), (b"a", b"b"), (b"b", b"a"))
    ]
    assert learn_merges({b"\xff\x01": 2, b"a\x01": 2, b"a\x00": 2}, 2) == [
        *((b"a", b"\x00"), (b"a", b"\x01"))
    ]


def test_a_pair_that_occurs_once_is_not_merged():
    assert learn_merges({b"ab": 1, b"bc": 1}, 5) == []


@pytest.mark.parametrize(
    "words",
    [
        {b"abc": 9, b"ab": 20, b"xbc": 15, b"bc": 9, b"xa": 30},  # abc can be made of two pairs
        {b"aaaaa": 3, b"aaaa": 1},  # runs are merged from left to right
        {b"a" * 5000: 2},  # no token is longer than the limit
    ],
)
def test_merges_of_hard_words(words):
    merges = learn_merges(words, 100)
    made = [left + right for left, right in merges]
    assert len(made) == len(set(made))
    assert max(map(len, made)) <= LONGEST
    assert merges == bpe.learn_merges(words, 100)


def test_a_run_is_joined_from_left_to_right():
    assert join([b"a"] * 5, (b"a", b"a"), b"aa") == [b"aa", b"aa", b"a"]


def test_merges_among_thousands_of_pairs():
    """More than the kernel's first table and heap hold."""
    rng = np.random.default_rng(0)
    words = {rng.bytes(2): int(count) for count in rng.integers(2, 60, 6000)}
    words |= {word + b"a": 2 for word in words}
    assert learn_merges(words, 2) == bpe.learn_merges(words, 2)


def test_specials_are_not_learned_from():
    text = "<|endoftext|>" * 9 + "ab ab"
    assert [left + right for left, right in train([text], 1000).merges] == [b"ab"]
    with pytest.raises(ValueError, match="at least 257, found 256"):
        train([SEA], 256)


# --- encoding


@given(st.lists(st.text(st.sampled_from("aabc"), min_size=1, max_size=50), max_size=6), WORDS)
def test_words_are_merged_as_defined(texts, words):
    merges = learn_merges(words, 30)
    table = BytePairs(merges)._table
    texts = [text.encode() for text in [*texts, *texts]]
    expected = [token for word in texts for token in encode_word(word, merges)]
    found = [table.tokens[number] for word in texts for number in table.numbers_of(word)]
    assert found == expected
    ends = np.cumsum([len(word) for word in texts], dtype=np.int64)
    numbers = encode_words(b"".join(texts), ends, table)
    assert [table.tokens[number] for number in numbers] == expected
    assert numbers.dtype == np.int32


@pytest.mark.deep
def test_more_words_than_the_kernel_remembers():
    text = "".join(f" w{number:x}" for number in range(50_000)) * 2
    tokenizer = train([text[:20_000]], 400)
    with use_kernels("numpy"):
        expected = tokenizer.encode(text)
    assert np.array_equal(tokenizer.encode(text), expected)


def test_a_long_word_takes_no_time(tokenizer):
    text = "seashells" * 5_000  # without a space
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ids_of_gpt2():
    """Texts and ids, with those of GPT-2's merges that can be made in them."""
    frozen = json.loads(Path(__file__).with_name("gpt2_vectors.json").read_text())
    merges = [(unspell(a), unspell(b)) for a, b, _ in frozen["merges"]]
    tokenizer = BytePairs(merges)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = [*printable, *(value for value in range(256) if value not in printable)]
    gpt2 = {bytes([value]): id for id, value in enumerate(order)}
    gpt2 |= {a + b: id for (a, b), (_, _, id) in zip(merges, frozen["merges"], strict=True)}
    for text, ids in frozen["texts"]:
        assert [gpt2[tokenizer.tokens[id]] for id in tokenizer.encode(text)] == ids, text


# --- the vocabulary


def test_pieces_wait_for_whole_characters(tokenizer):
    emoji = list("😀".encode())
    assert list(tokenizer.stream([97, *emoji, 98])) == ["a", "😀", "b"]
    assert list(tokenizer.stream([*emoji[:3], 98])) == ["\ufffdb"]
    assert list(tokenizer.stream(emoji[:2])) == ["\ufffd"]


@given(st.lists(st.one_of(TEXTS, st.just("<|endoftext|>"), st.just("she sells")), max_size=5))
def test_several_texts_have_the_tokens_of_each(tokenizer, texts):
    """Whatever stands beside them."""
    results = tokenizer.encode_each(texts, texts)
    assert [each.tolist() for each in results] == [
        tokenizer.encode(text).tolist() for text in texts
    ]
    assert all(each.dtype == np.int32 for each in results)
    assert [tokenizer.decode(each) for each in results] == texts


def test_of_several_texts_the_one_with_a_lone_surrogate_is_named(tokenizer):
    with pytest.raises(InputError, match=r"^B, .*lone surrogate"):
        tokenizer.encode_each(["a", "\ud800", "\udfff"], ["A", "B", "C"])


def test_specials(tokenizer):
    end = len(tokenizer) - 1
    assert tokenizer.bos == tokenizer.eos == opening_id(tokenizer, documents=True) == end
    assert opening_id(tokenizer) == tokenizer.line_end  # it has never seen a beginning
    assert tokenizer.tokens[end] == b"<|endoftext|>"
    assert tokenizer.encode("a<|endoftext|><|endoftext|>b").tolist() == [97, end, end, 98]
    assert banned_ids(tokenizer) == [end]
    assert banned_ids(tokenizer, documents=True) == []  # BOS is EOS: it may end
    assert tokenizer.unknown is tokenizer.padding is tokenizer.sentence_end is None
    assert tokenizer.tokens[tokenizer.line_end] == b"\n"
    several = BytePairs([], ["<s>", "<s>>"])
    assert several.encode("<s>><s>").tolist() == [257, 256]  # the longest that fits
    assert several.bos is None
    assert BytePairs([], []).encode("<|endoftext|>").tolist() == list(b"<|endoftext|>")


def test_how_tokens_are_shown(tokenizer):
    assert tokenizer.show(0xE2) == "\\xe2"
    assert BytePairs([(b"\n", b" ")]).show(256) == "\\n␣"
