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


def test_answers_are_the_same_as_alone(chat):
    assert len(QUESTIONS) > AT_ONCE
    together = list(chat.answers(QUESTIONS, 20, GREEDY))
    assert together == [one for talk in QUESTIONS for one in chat.answers([talk], 20, GREEDY)]
    assert together == ["".join(chat.answer(talk, 20, GREEDY)) for talk in QUESTIONS]


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
