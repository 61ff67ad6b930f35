"""Conversations: what is read again, what is left out, and what is written."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from chatting import SPECIALS, TEMPLATE, TOKENIZER, assistant, model, system, user
from hypothesis import assume, given
from hypothesis import strategies as st

from minillm.decoding import Chat, Continuation, Reader, Sampling, write
from minillm.decoding.batch import AT_ONCE
from minillm.errors import InputError

GREEDY = Sampling(temperature=0)
SENTENCES = st.sampled_from(["the cat", "the dog sat on the log", "on", "é 😀"])
QUESTIONS = st.lists(SENTENCES, min_size=1, max_size=5)


class Reads:
    """A reader, and how many tokens it has read at a time."""

    def __init__(self, some):
        self.some, self.counts = some, []

    def __getattr__(self, name):
        return getattr(self.some, name)

    def read(self, ids, state):
        self.counts.append(ids.shape[1])
        return self.some.read(ids, state)


def chat(**sizes):
    return Chat(Reads(Reader(model(**sizes))), TOKENIZER, TEMPLATE)


def answer(some, messages, *options, **named):
    return "".join(some.answer(messages, *options, **named))


def expected_answer(messages, length, sampling, context=128):
    """By a text whose conversation is read whole."""
    ids = TEMPLATE.encode(TOKENIZER, messages).tolist()
    ends = frozenset(TEMPLATE.ends(TOKENIZER))
    text = Continuation(ids, min(length, context - len(ids)), sampling, ends)
    special = [TOKENIZER.id_of(text.encode()) for text in SPECIALS]
    written = write(model(context=context), text)
    return TOKENIZER.decode(id for id in written if id not in special)


@given(QUESTIONS, st.booleans(), st.integers(1, 12), st.sampled_from([None, 1.0]))
def test_a_conversation_is_answered_as_if_it_was_read_anew(questions, begin, length, temperature):
    some = chat(context=256)
    messages = [system("the mat")] if begin else []
    for number, question in enumerate(questions):
        messages.append(user(question))
        sampling = Sampling(temperature=temperature or 0, seed=number)
        written = answer(some, messages, length, sampling)
        assert written == expected_answer(messages, length, sampling, context=256)
        messages.append(assistant(written))


def test_only_new_tokens_are_read():
    some = chat(context=256)
    messages = [user("the cat sat on the mat")]
    messages.append(assistant(answer(some, messages, 4, GREEDY)))
    before = len(some.encode(messages[:1]))
    assert some.reader.counts[0] == before
    del some.reader.counts[:]
    messages.append(user("and the dog"))
    answered = answer(some, messages, 4, GREEDY)
    assert some.reader.counts[0] < len(some.encode(messages)) - before + 1
    del some.reader.counts[:]
    assert answer(some, messages, 4, GREEDY) == answered
    assert some.reader.counts[0] == 2  # one would be read as a step is
    for _ in range(2):  # others, which begin in the same way, do not disturb each other
        for text in ("the cat", "the dog sat on the log"):
            talk = [system("the mat"), user(text)]
            assert answer(some, talk, 8, GREEDY) == expected_answer(talk, 8, GREEDY, 256)


TALKS = [[user(f"the {a} {b}")] for a in ("cat", "dog", "mat", "log") for b in ("sat", "on", "")]


def test_answers_together_and_in_threads_are_those_of_each_alone():
    some = Chat(model(context=256), TOKENIZER, TEMPLATE)
    expected = [expected_answer(talk, 10, GREEDY, 256) for talk in TALKS]
    assert len(TALKS) > AT_ONCE
    assert list(some.answers(TALKS, 10, GREEDY)) == expected
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda talk: answer(some, talk, 10, GREEDY), TALKS)) == expected
    error = InputError("no conversation")
    found = list(some.answers([TALKS[0], error, None, TALKS[1]], 10, GREEDY))
    assert found == [expected[0], error, "", expected[1]]


def test_conversations_are_read_as_they_are_needed():
    taken = []

    def asked():
        for talk in TALKS:
            taken.append(talk)
            yield talk

    found = chat().answers(asked(), 3, GREEDY)
    assert isinstance(next(found), str)
    assert len(taken) < len(TALKS)


@given(QUESTIONS, st.integers(1, 40), st.integers(64, 200))
def test_what_does_not_fit_is_left_out_by_whole_turns(questions, length, context):
    some = chat(context=context)
    messages = [system("the mat")]
    for question in questions:
        messages += [user(question), assistant("the log")]
    messages.pop()
    most = context - min(length, context // 4)
    assume(len(some.encode([messages[0], messages[-1]])) <= most)
    kept = some.fitting(messages, length)
    dropped = (len(messages) - len(kept)) // 2
    assert kept == [messages[0], *messages[1 + 2 * dropped :]]
    assert len(some.encode(kept)) <= most
    assert (dropped > 0) == (len(some.encode(messages)) > most)
    if dropped and len(kept) > 2:
        assert len(some.encode(kept)) <= context // 2
    if dropped > 1:
        assert len(some.encode([messages[0], *messages[2 * dropped - 1 :]])) > context // 2
    said = []
    answer(some, messages, length, GREEDY, report=said.append)
    line = f"the context of {context} tokens no longer holds all turns: left out {dropped}"
    assert said == [line] * bool(dropped)


def test_a_last_turn_that_does_not_fit_is_an_error():
    some = chat(context=40)
    for before in ([], [system("the mat")], [user("the cat"), assistant("on")]):
        with pytest.raises(InputError, match="messages: expected at most 30 tokens, found "):
            some.answer([*before, user("the cat sat on the mat " * 8)])


def written(some, ids, length=None):
    return list(write(some.reader, some.continuation(ids.tolist(), length, GREEDY), some.prefixes))


def test_an_answer_ends_with_the_context_or_before_the_token_that_ends_a_turn():
    some = chat(context=48)
    some.ends = []
    ids = some.encode([user("the cat")])
    free = written(some, ids)
    assert len(free) == 48 - len(ids)
    assert written(some, np.arange(48) % 9) == []
    some.ends = [free[7]]
    assert written(some, ids, 20) == free[: free.index(free[7])]
