"""Answers to many conversations are the same as alone."""

import pytest
from chatting import TEMPLATE, TOKENIZER, model, user

from minillm.decoding import Chat, Sampling
from minillm.decoding.batch import AT_ONCE
from minillm.errors import InputError

QUESTIONS = [
    [user(f"the {a} {b}")] for a in ("cat", "dog", "mat", "log") for b in ("sat", "on", "")
]
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def chat():
    return Chat(model(context=256), TOKENIZER, TEMPLATE)


def has_many(text):
    return len(text) > 12


@pytest.mark.parametrize("is_enough", [None, has_many])
def test_answers_are_the_same_as_alone(chat, is_enough):
    assert len(QUESTIONS) > AT_ONCE
    together = list(chat.answers(QUESTIONS, 20, GREEDY, enough=is_enough))
    alone = [
        one for talk in QUESTIONS for one in chat.answers([talk], 20, GREEDY, enough=is_enough)
    ]
    assert together == alone
    whole = ["".join(chat.answer(talk, 20, GREEDY)) for talk in QUESTIONS]
    if is_enough is None:
        assert together == whole
    else:
        assert all(long.startswith(short) for short, long in zip(together, whole, strict=True))
        assert all(
            has_many(short) for short, long in zip(together, whole, strict=True) if short != long
        )
        assert together != whole


def test_an_error_and_nothing_are_their_own_answers(chat):
    error = InputError("no conversation")
    found = list(chat.answers([QUESTIONS[0], error, None, QUESTIONS[1]], 5, GREEDY))
    assert found[1:3] == [error, ""]
    assert found[::3] == ["".join(chat.answer(talk, 5, GREEDY)) for talk in QUESTIONS[:2]]


def test_conversations_are_read_as_they_are_needed(chat):
    taken = []

    def asked():
        for talk in QUESTIONS:
            taken.append(talk)
            yield talk

    found = chat.answers(asked(), 3, GREEDY)
    assert isinstance(next(found), str)
    assert len(taken) < len(QUESTIONS)
