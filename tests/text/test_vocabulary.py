"""The properties of every vocabulary, whatever its tokens are: a row for each."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.text import (
    BytePairs,
    Characters,
    PublishedTokenizer,
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
from minillm.text.open_words import OpenWords
from minillm.text.tokenizer_json import of_ours
from minillm.text.words import split_words

SEA = "she sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure.\n"
SIGNS = "ab'sdtrevml 1²\n\t\u2003\xa0.!é中\u0301😀٣ ABÉ#[]\x0b\x00\u200b\u3000\u2028"
SIGNS += "漢\uf900ガ각İß$€\ufffd"
TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from(SIGNS), max_size=40),
    st.text(st.sampled_from("abc 3.,'\u2019“”()-$%\n_é€😀<unk>"), min_size=1, max_size=60),
)
CASED = list(dict.fromkeys([*SIGNS.split(), "A", "B", "##A", "##B", "##b", "##é", "##É", "##ab"]))
FIXED = {
    "byte pairs": byte_pairs.train([SEA * 3, "é😀 é😀"], 300),
    "pieces": word_pieces.train([SEA * 3, "é😀 é😀 각각 漢字漢字 don't"], 120),
    "cased pieces": WordPieces([*word_pieces.SPECIALS, *CASED], lower_case=False),
}
UNITS = ["character", "word", "token"]  # made of the text itself
ROWS = [*UNITS, *FIXED]
HALF = "\ud800"


def made(row, text):
    return FIXED[row] if row in FIXED else build_vocabulary([text], row)


@pytest.mark.parametrize("row", ROWS)
@given(text=TEXTS)
def test_encoded_split_decoded_and_streamed(row, text):
    vocabulary = made(row, text or "a")
    tokens, ids = vocabulary.split(text), vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert len(tokens) == len(ids)
    decoded = vocabulary.decode(ids)
    assert "".join(vocabulary.stream(iter(ids.tolist()))) == decoded
    assert vocabulary.encode(decoded).tolist() == ids.tolist()
    if row in UNITS:
        assert [vocabulary.decode([id]) for id in ids] == tokens
        other = build_vocabulary(["other"], row)
        assert other.split(text) == tokens  # whether it has them or not
    if "pieces" not in row:
        assert vocabulary.encode_known(text).tolist() == ids.tolist()
    if row in ("character", "byte pairs"):
        assert decoded == text
    if row == "byte pairs":
        assert b"".join(vocabulary.tokens[id] for id in ids) == text.encode()


@pytest.mark.parametrize("row", ROWS)
@given(text=TEXTS, numbers=st.lists(st.integers(0, 10**6), max_size=30), names=st.integers(0, 3))
def test_any_ids_can_be_decoded(row, text, numbers, names):
    vocabulary = made(row, text or "a")
    ids = [number % len(vocabulary) for number in numbers]
    given_names = ["Ada", "Bo", "."][:names] if row in UNITS else []
    pieces = list(vocabulary.stream(iter(ids), given_names))
    assert "".join(pieces) == vocabulary.decode(ids, given_names)
    assert row not in UNITS or len(pieces) == len(ids)


@pytest.mark.parametrize("row", UNITS)
def test_pieces_come_as_soon_as_their_ids(row):
    vocabulary, asked = made(row, "a b"), []

    def ids():
        for id in vocabulary.encode("a b"):
            asked.append(id)
            yield id

    pieces = vocabulary.stream(ids())
    assert next(pieces) == "a"
    assert len(asked) == 1


@pytest.mark.parametrize("row", ROWS)
@given(text=TEXTS)
def test_json_keeps_it_and_labels_are_on_one_line(row, text):
    vocabulary = made(row, text + "\n\t ")
    again = vocabulary_from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert again.to_dict() == vocabulary.to_dict()
    text += "<|endoftext|>[MASK]" if row in FIXED else ""
    assert again.encode(text).tolist() == vocabulary.encode(text).tolist()
    for id in range(len(vocabulary)):
        label = vocabulary.show(id)
        assert label.isprintable()
        assert label.strip() == label != ""


@pytest.mark.parametrize("row", FIXED)
@given(text=st.lists(st.one_of(TEXTS, st.sampled_from(["<|endoftext|>", "[MASK]"]))).map("".join))
def test_ids_are_the_librarys(row, text):
    """Of the tokenizer.json that other programs read."""
    pytest.importorskip("tokenizers")
    ours = FIXED[row]
    if not hasattr(ours, "in_library"):
        ours.in_library = PublishedTokenizer(of_ours(ours))
    theirs = ours.in_library
    if row == "byte pairs":
        assert theirs.tokens == ours.tokens
        assert ours.encode_ordinary(text).tolist() == theirs.encode_ordinary(text).tolist()
        assert ours.encode(text).tolist() == theirs.encode(text).tolist()
    elif all(ord(c) < 0x300 or c in SIGNS for c in text):  # of older Unicode
        ids, offsets = theirs.encode_with_offsets(text)
        assert ours.encode(text).tolist() == ids.tolist()
        assert ours.encode_with_offsets(text)[1].tolist() == offsets.tolist()
        assert theirs.decode(ids) == ours.decode(ids)


@pytest.mark.parametrize("train", [byte_pairs.train, word_pieces.train])
def test_training_is_deterministic(train):
    texts = [SEA, "more of the sea, and more shells", "漢字 é"]
    first, again = (train(iter(order), 290).to_dict() for order in (texts, texts[::-1]))
    assert first == again


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Characters(["a", HALF]),
        lambda: Characters.from_text(f"a{HALF}"),
        lambda: Words(["<unk>", HALF]),
        lambda: Words.from_text(f"a {HALF}"),
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


@pytest.mark.parametrize("row", FIXED)
@pytest.mark.parametrize(
    ("text", "place"),
    [(HALF, "line 1, column 1"), ("a\n<|endoftext|>bc\udfffd", "line 2, column 16")],
)
def test_lone_surrogates_are_refused(row, text, place):
    with pytest.raises(InputError, match=rf"^FILE, {place}: .*lone surrogate \(U\+D"):
        FIXED[row].encode(text, "FILE")
    train = word_pieces.train if "pieces" in row else byte_pairs.train
    for call in (lambda: train([text], 300), lambda: bpe.split_words(text)):
        with pytest.raises(InputError, match="lone surrogate"):
            call()


WORD = {"unit": "word", "tokens": ["<unk>"], "pretokenised": False}
PIECES = WordPieces(word_pieces.SPECIALS).to_dict()
BPE = {"unit": "bpe", "merges": [], "specials": ["<|endoftext|>"]}
PAIRS_OF_BYTES = '"merges": pairs of bytes'
OPEN = OpenWords(["<unk>", "a"], ["<unk>", "a"]).to_dict()
DAMAGED = [
    ({}, "unit"),
    ({"unit": "syllable", "tokens": ["a"]}, "unit"),
    ({"unit": "word", "tokens": ["<unk>"]}, "pretokenised: expected true or false"),
    (WORD | {"tokens": ["a"]}, "<unk>"),
    (WORD | {"tokens": ["<unk>", "a", "a"]}, "distinct"),
    *(({"unit": "character", "tokens": some}, "tokens") for some in ([], ["ab"], ["b", "a"])),
    ({"unit": "character", "tokens": ["a", "a"]}, "tokens"),
    (PIECES | {"tokens": 3}, '"tokens": a list of strings'),
    (PIECES | {"tokens": ["a"]}, r"expected \[UNK\] among them"),
    (PIECES | {"tokens": ["[UNK]", "a", "a"]}, "distinct texts"),
    (PIECES | {"lower_case": None}, "lower_case: expected true or false, found None"),
    (BPE | {"merges": None}, '"merges": pairs'),
    (BPE | {"merges": [["a", "b", "c"]]}, PAIRS_OF_BYTES),
    (BPE | {"merges": [["a", "\u0100"]]}, PAIRS_OF_BYTES),
    (BPE | {"merges": [["a", "b"], ["a", "bc"]]}, "merge 2: expected tokens of the merges before"),
    (BPE | {"merges": [["ab", "c"], ["a", "b"]]}, "merge 1: .* before it, found b'ab'"),
    (BPE | {"merges": [["a", "b"]] * 2}, "merge 2: expected a new token of .*, found b'ab'"),
    (BPE | {"merges": [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"]]}, "merge 4: .* new token"),
    (BPE | {"merges": [["a" * 2**n] * 2 for n in range(11)]}, "at most 1024 bytes"),
    (BPE | {"specials": "x"}, '"specials": a list'),
    *((BPE | {"specials": some}, "distinct new tokens") for some in (["x", "x"], [""], ["a"])),
    (OPEN | {"forms": ["<unk>"]}, "forms: expected one for each of 2 tokens, found 1"),
    (OPEN | {"tokens": ["a", "b"]}, "expected '<unk>' first"),
    (
        OPEN | {"tokens": ["<unk>", "a", "a"], "forms": ["<unk>", "a", "A"]},
        "expected distinct words, found 2 of 3",
    ),
]


@pytest.mark.parametrize(("values", "message"), DAMAGED)
def test_damaged_json_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        vocabulary_from_dict(values)


@pytest.mark.parametrize("character", ["z", "A", "é", "\U0001f600", "\udcff"])
def test_a_character_that_it_lacks_is_named_with_its_place(character):
    vocabulary = Characters.from_text("abc\n")
    with pytest.raises(InputError, match=r"^prompt, line 2, column 3: ") as error:
        vocabulary.encode("abc\nab" + character + "x", "prompt")
    assert repr(character) in str(error.value)
    assert f"U+{ord(character):04X}" in str(error.value)


def test_an_unknown_word_in_a_prompt_is_named():
    vocabulary = Words.from_text("to be or not")
    with pytest.raises(InputError, match=r"^prompt: the word 'sleep' "):
        vocabulary.encode_known("to sleep", "prompt")
    assert vocabulary.encode_known("to <unk>").tolist() == vocabulary.encode("to sleep").tolist()


@pytest.mark.parametrize("id", [-1, 3, 1.7])
def test_an_id_without_a_token_is_not_another_token(id):
    """A negative id would be counted from the end."""
    for vocabulary in (Characters(["a", "b", "c"]), BytePairs([])):
        with pytest.raises((IndexError, TypeError)):
            vocabulary.decode([id if id != 3 else len(vocabulary)])


# --- tokens --------------------------------------------------------------------------------------


def test_ids_of_characters_follow_code_points():
    vocabulary = Characters.from_text("b\U0001f600aé")
    assert vocabulary.tokens == ["a", "b", "é", "\U0001f600"]
    assert vocabulary.encode("\U0001f600b").tolist() == [3, 1]


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


@pytest.mark.parametrize("maximum_size", [None, 2, 3, 4])
def test_some_words_have_an_id_in_any_case(maximum_size):
    words = build_vocabulary(["b b a a a\n"], "word", 2, maximum_size, always=["\n"])
    assert words.to_dict()["tokens"] == ["<unk>", "\n", "a", "b"][:maximum_size]
    assert words.line_end == 1


def test_units():
    text = "Don't. <eos>"
    assert build_vocabulary([text], "word").split(text) == ["Don't", ".", "<", "eos", ">"]
    assert build_vocabulary([text], "token").split(text) == ["Don't.", "<eos>"]
    with pytest.raises(ValueError, match="unit: expected one of character, word, token, bpe, word"):
        build_vocabulary([text], "syllable")


def test_marks_and_line_ends_are_words():
    assert split_words("Don't <unk>: a-b 3.5%\nso.") == [
        *("Don't", "<unk>", ":", "a-b", "3.5", "%", "\n", "so", ".")
    ]
    assert split_words("so. <eos>\nn't", pretokenised=True) == ["so.", "<eos>", "\n", "n't"]


ENGLISH = "The cat sat, the cat (a big one) didn't run.\nThe dog's built-in 3.14!\n"


@pytest.mark.parametrize("pretokenised", [False, True])
@pytest.mark.parametrize("text", [ENGLISH, 'a "b a", "b". a\n"a\n"b" a'])
def test_decoded_words_are_written_as_english_is(text, pretokenised):
    vocabulary = Words.from_text(text, pretokenised=pretokenised)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_rare_words_become_the_unknown_word():
    """Words of equal counts go by alphabet."""
    vocabulary = Words.from_text("b b b a a c", minimum_count=2)
    assert vocabulary.tokens == ["<unk>", "b", "a"]
    assert vocabulary.encode("a b c d").tolist() == [2, 1, 0, 0]
    assert Words.from_text("b b b a a c", maximum_size=2).tokens == ["<unk>", "b"]
    assert Words.from_text("d c a b b").tokens == ["<unk>", "b", "a", "c", "d"]


def test_unknown_words_can_be_named_when_decoding():
    vocabulary = Words(["<unk>", "met", ","])
    assert vocabulary.decode([0, 2, 1, 0, 0], ["Ada", "Bo"]) == "Ada, met Bo <unk>"
