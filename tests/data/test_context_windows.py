"""Windows of contexts, and where in them an answer is."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data.context_windows import (
    LONGEST_QUESTION,
    targets_of,
    text_span,
    tokens_of,
    windows,
    windows_of,
)
from minillm.data.squad import Answer, Question
from minillm.errors import InputError
from minillm.text.word_pieces import SPECIALS, WordPieces

LETTERS = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
PIECES = WordPieces(
    [*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "cafe", *"0123456789.,?!😀東京"]
)


@given(tokens=st.integers(1, 60), room=st.integers(1, 20), stride=st.integers(1, 30))
def test_windows_overlap_and_cover_everything(tokens, room, stride):
    results = windows(tokens, room, stride)
    assert results[0][0] == 0
    assert results[-1][1] == tokens
    for begin, end in results:
        assert 0 < end - begin <= room
    for (begin, end), (after, _) in pairwise(results):
        assert after - begin == min(stride, room)
        assert end - begin == room
        assert after <= end < tokens  # one less would not do
    assert len(results) == 1 or tokens > room


def windows_for(question, context=12, stride=4):
    return windows_of([question], PIECES, context, stride)


def test_a_context_longer_than_the_model():
    text = " ".join(LETTERS)
    question = Question("1", "a b", text, (Answer("k l", text.index("k l")),))
    results = windows_for(question)  # room for 7 letters
    assert results.begin.tolist() == [0, 4, 8, 12, 16, 20]
    assert results.question.tolist() == [0] * 6
    first, last = targets_of(results, [question])
    # k and l are the tokens 10 and 11: in the windows from 8 and, with l cut off, from 4
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == [
        (0, 0), (0, 0), (3, 4), (0, 0), (0, 0), (0, 0),
    ]  # fmt: skip
    ids, _ = results.contexts.padded(np.array([2]))
    shown = [PIECES.tokens[id] for id in ids[0]]
    assert shown == ["[CLS]", *"ijklmno", "[SEP]"]
    ids, _ = results.questions.padded(np.array([2]))
    assert [PIECES.tokens[id] for id in ids[0]] == ["a", "b", "[SEP]"]
    for length in results.questions.lengths + results.contexts.lengths:
        assert length <= 12
    question.answers = ()
    assert not np.any(targets_of(results, [question]))


def test_of_a_long_question_the_beginning_is_read():
    question = Question("1", "a " * 500, "b c d", ())
    assert windows_for(question, 384).questions.lengths.tolist() == [LONGEST_QUESTION + 1]
    results = windows_for(question, 8)
    assert results.questions.lengths.tolist() == [5, 5, 5]
    assert results.contexts.lengths.tolist() == [3, 3, 3]


@given(data=st.data())
def test_the_tokens_of_an_answer_give_it_back(data):
    """Hard Unicode: accents that are characters of their own, emoji, tabs, CRLF, ideographs."""
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    words = ["cafe\u0301", "\U0001f600", family, "東京", "x1.5", "naïve", "ﬁn",
             "\u2764\ufe0f", "q\u0323\u0307", "İs"]  # fmt: skip
    spaces = [" ", "\t", "\r\n", "\u3000", "\n\n", "\u00a0"]
    text, starts = "", []
    for word in data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=8)):
        text += data.draw(st.sampled_from(spaces))
        starts.append((len(text), len(text) + len(word)))
        text += word
    text += data.draw(st.sampled_from(["", " ", "\r\n"]))
    begin = data.draw(st.integers(0, len(starts) - 1))
    end = data.draw(st.integers(begin, len(starts) - 1))
    start, stop = starts[begin][0], starts[end][1]
    _, offsets = PIECES.encode_with_offsets(text)
    assert text_span(text, offsets, *tokens_of(offsets, start, stop)) == (start, stop)


@pytest.mark.parametrize("answer", ["cafe\u0301", "cafe", "a"])
def test_an_answer_ends_with_whole_characters(answer):
    text = "cafe\u0301\r\nin 1843."
    start = text.index(answer)
    _, offsets = PIECES.encode_with_offsets(text)
    start, end = text_span(text, offsets, *tokens_of(offsets, start, start + len(answer)))
    assert text[start:end] == "cafe\u0301"


def test_texts_without_a_token_are_named():
    for question, text, message in (
        ("\u200d", "a b", "question 1: expected a question of a token or more, found none"),
        ("a", "\u200d", "question 1: expected a context of a token or more, found none"),
    ):
        with pytest.raises(InputError, match=message):
            windows_for(Question("1", question, text, ()))
    question = Question("7", "a", "b \u200d c", (Answer("\u200d", 2),))
    results = windows_for(question)
    with pytest.raises(InputError, match="question '7': expected an answer of a token or more"):
        targets_of(results, [question])


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(2, 5, (1, 1)), (0, 2, (0, 0)), (4, 8, (1, 3)), (6, 7, None)]
)
def test_tokens_that_touch_an_answer_are_not_in_it(start, end, expected):
    assert tokens_of(np.array([[0, 2], [2, 5], [5, 6], [7, 9]]), start, end) == expected
