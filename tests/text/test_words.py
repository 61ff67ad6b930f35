import pytest

from minillm.errors import InputError
from minillm.text import Words, vocabulary_from_dict
from minillm.text.words import split_words

TEXT = "The cat sat, the cat (a big one) didn't run.\nThe dog's built-in 3.14!\n"


def test_marks_and_line_ends_are_words():
    assert split_words("Don't <unk>: a-b 3.5%\nso.") == [
        *("Don't", "<unk>", ":", "a-b", "3.5", "%", "\n", "so", ".")
    ]
    assert split_words("so. <eos>\nn't", pretokenised=True) == ["so.", "<eos>", "\n", "n't"]


@pytest.mark.parametrize("pretokenised", [False, True])
def test_decoded_text_is_written_as_english_is_and_reads_the_same(pretokenised):
    vocabulary = Words.from_text(TEXT, pretokenised=pretokenised)
    ids = vocabulary.encode(TEXT)
    assert vocabulary.decode(ids) == TEXT
    assert "".join(vocabulary.stream(iter(ids))) == TEXT


def test_rare_words_become_the_unknown_word():
    vocabulary = Words.from_text("b b b a a c", minimum_count=2)
    assert vocabulary.tokens == ["<unk>", "b", "a"]
    assert vocabulary.encode("a b c d").tolist() == [2, 1, 0, 0]
    assert Words.from_text("b b b a a c", maximum_size=2).tokens == ["<unk>", "b"]


def test_unknown_words_can_be_named_when_decoding():
    vocabulary = Words(["<unk>", "met", ","])
    assert vocabulary.decode([0, 2, 1, 0, 0], ["Ada", "Bo"]) == "Ada, met Bo <unk>"


def test_equal_counts_go_by_alphabet():
    assert Words.from_text("d c a b b").tokens == ["<unk>", "b", "a", "c", "d"]


def test_an_unknown_word_in_a_prompt_is_named():
    vocabulary = Words.from_text("to be or not")
    with pytest.raises(InputError, match=r"^prompt: the word 'sleep' "):
        vocabulary.encode_known("to sleep", "prompt")
    assert vocabulary.encode_known("to <unk>").tolist() == vocabulary.encode("to sleep").tolist()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([], "an object"),
        ({"unit": "word"}, "tokens"),
        ({}, "unit"),
        ({"unit": "word", "tokens": ["<unk>", 3]}, "tokens"),
        ({"unit": "word", "tokens": ["<unk>"]}, "pretokenised: expected true or false"),
        ({"unit": "word", "tokens": ["a"], "pretokenised": False}, "<unk>"),
        ({"unit": "word", "tokens": ["<unk>", "a", "a"], "pretokenised": False}, "distinct"),
        ({"unit": "syllable", "tokens": ["a"]}, "unit"),
    ],
)
def test_damaged_json_is_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        vocabulary_from_dict(values)


def test_straight_quotation_marks_open_and_close():
    vocabulary = Words.from_text('" a b , .\n')
    text = 'a "b a", "b". a\n"a\n"b" a'
    assert vocabulary.decode(vocabulary.encode(text)) == text
