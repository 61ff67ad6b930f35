"""Summaries within a length, and of texts that exceed the context."""

import re

import pytest
from chatting import TEMPLATE, TOKENIZER, model
from hypothesis import given
from hypothesis import strategies as st

from minillm.data.conversations import summary_request
from minillm.decoding import Chat
from minillm.decoding import summaries as page
from minillm.decoding.summaries import SPARE, Length, beginning, extracted, summaries
from minillm.errors import InputError
from minillm.models.extractive import lead, textrank
from minillm.text.sentences import sentences

WORDS = st.sampled_from(["The", "cat", "Dr.", "etc.", "sat.", "on.", '"So?"', "mats", "3.5", "2."])
TEXTS = st.lists(WORDS, max_size=30).map(" ".join)
LENGTHS = st.builds(Length, st.none() | st.integers(1, 3), st.none() | st.integers(1, 12))
TEXT = " ".join(f"The {a} sat on the {b}." for a in ("cat", "dog", "log") for b in ("mat", "log"))


# --- length --------------------------------------------------------------------------------------


@given(TEXTS, LENGTHS)
def test_a_cut_text_has_the_length(text, length):
    cut = length.cut(text)
    assert " ".join(text.split()).startswith(cut)
    assert length.words is None or len(cut.split()) <= length.words
    assert length.sentences is None or len(sentences(cut)) <= length.sentences
    if length.sentences or length.words:
        assert bool(cut) == bool(sentences(text))
    assert length.cut(cut) == cut


def test_a_text_within_the_length_is_whole():
    assert (
        Length(2, 6).cut("One two three. Four five six.\nSeven.") == "One two three. Four five six."
    )
    assert Length(2, 5).cut("One two three. Four five six.") == "One two three."
    assert Length(words=2).cut("One two three. Four five six.") == "One two"
    assert Length().cut(" subject: no\nend ") == "subject: no end"


# --- extraction ----------------------------------------------------------------------------------


@pytest.mark.parametrize("choose", [lead, textrank])
def test_extracts_have_as_many_sentences_as_fit(choose):
    assert extracted(choose, TEXT, Length()) == " ".join(choose(TEXT, 1))
    assert extracted(choose, TEXT, Length(sentences=3)) == " ".join(choose(TEXT, 3))
    for words in range(1, 40):
        extract = extracted(choose, TEXT, Length(words=words))
        count = max(1, min(6, words // 6))
        assert extract == " ".join(choose(TEXT, count))
        assert extracted(choose, TEXT, Length(2, words)) == " ".join(choose(TEXT, min(2, count)))
    assert extracted(choose, "", Length()) == extracted(choose, "", Length(words=3)) == ""


# --- texts that exceed the context ---------------------------------------------------------------


@given(TEXTS, st.integers(1, 40))
def test_the_beginning_of_a_text_has_so_many_tokens(text, most):
    cut = beginning(text, TOKENIZER, most)
    assert text.startswith(cut)
    tokens = len(TOKENIZER.encode_ordinary(text))
    assert (cut == text) == (tokens <= most)
    assert len(TOKENIZER.encode_ordinary(cut)) <= most + SPARE
    of_cat = len(TOKENIZER.encode_ordinary("\N{CAT}"))  # a character is not cut
    assert beginning("a\N{CAT}", TOKENIZER, of_cat) == "a"


def test_the_request_has_the_text_and_the_limits():
    requests = [summary_request("The text.", *limits) for limits in ((), (1,), (3, 20))]
    asked = [message["content"].removeprefix("The text.") for [message] in requests]
    found = [re.findall("one sentence|at most [0-9]+ [a-z]+", text) for text in asked]
    assert found == [[], ["one sentence"], ["at most 3 sentences", "at most 20 words"]]


@pytest.fixture(scope="module")
def chat():
    return Chat(model(context=320), TOKENIZER, TEMPLATE)


def summarised(chat, *texts, length=Length(words=4)):  # noqa: B008
    notes = []
    places = [f"text {number + 1}" for number in range(len(texts))]
    return list(summaries(chat, texts, places, length, notes.append)), notes


def test_a_summary_is_the_first_paragraph_of_the_answer(chat, monkeypatch):
    def answered(chat, requests, length, sampling):
        for answer in ("\n\n a\nb \n", "\nOne. Two\n \n3 ", "One. Two. No", "a " * 101):
            assert isinstance(next(iter(requests)), list)
            yield answer

    monkeypatch.setattr(Chat, "answers", answered)
    found, _ = summarised(chat, *"abcd", length=Length(sentences=2))
    assert found == ["a b", "One. Two", "One. Two.", " ".join("a" * 100)]


def test_of_a_long_text_the_beginning_is_summarised(chat):
    text, room = " ".join([TEXT] * 8), page.room_for_text(chat, Length(words=4))
    [summary], notes = summarised(chat, text)
    assert notes == [f"text 1: its first {room:,} tokens are read: more do not fit the context"]
    assert [summary] == summarised(chat, beginning(text, TOKENIZER, room))[0]


def test_texts_without_a_summary(chat):
    found, notes = summarised(chat, "The cat sat.", " \n", "The dog sat.")
    assert [type(one) for one in found] == [str, InputError, str]
    assert str(found[1]) == "text 2: expected a text, found an empty one"
    [error], _ = summarised(Chat(model(context=64), TOKENIZER, TEMPLATE), "The cat sat.")
    assert "expected a context with room for 16 tokens" in str(error)
    assert not notes
