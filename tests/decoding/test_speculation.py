"""Guesses change no text, cost little, and are what an n-gram model of the text says."""

import numpy as np
import pytest
from chatting import model
from hypothesis import example, given
from hypothesis import strategies as st

from minillm.decoding import Continuation, Reader, Sampling, batch, speculation, write
from minillm.decoding.speculation import OF_GUESS, ORDERS, SHARE, OwnNGrams, Speculation
from minillm.models.llama import Llama, LlamaConfig

READER = Reader(model(context=24))
IDS = st.lists(st.integers(0, 3), min_size=1, max_size=30)


class Script(Speculation):
    """It guesses as its function says: the next tokens of ``text``, for example."""

    def __init__(self, guesses):
        super().__init__()
        self.guesses, self.learned = guesses, []

    def guess(self, text, most):
        return self.guesses(text)[:most]

    def learn(self, guessed, right):
        self.learned.append((guessed, right))


def text(prompt, length, guesses=None, sampling=None, stop=()):
    some = Continuation(
        list(prompt), length, sampling or Sampling(temperature=1.0, seed=3), frozenset(stop)
    )
    some.speculation = Script(guesses or (lambda ids: []))
    return some


def written(*options, **values):
    """The ids that are written, and the text, whose cache is kept."""
    some, kept = text(*options, **values), batch.PrefixCache(READER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "is_worthwhile", lambda reader: True)
        ids = list(write(READER, some, kept))
    if len(some.ids) <= 24:
        assert kept.take(np.array([*some.ids, 0, 0]))[0] == len(some.ids) - 1
    return ids, some


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.integers(0, 2**32),
    st.lists(st.integers(0, 6), min_size=1),
    st.sampled_from([{"temperature": 0.0}, {"temperature": 1.0, "top_p": 0.9}]),
    st.booleans(),
)
def test_a_text_is_the_same_with_guesses(prompt, seed, right, options, stopping):
    """Each guess has so many right tokens, and then wrong ones; the context is reached, too."""
    sampling = Sampling(seed=seed, repetition_penalty=1.1, **options)
    _, plain = written(prompt, 32, sampling=sampling)
    stop = [plain.ids[-8]] if stopping else []
    expected, plain = written(prompt, 32, sampling=sampling, stop=stop)
    turns = iter(right * 32)

    def guesses(ids):
        n = next(turns)
        return [*plain.ids[len(ids) : len(ids) + n], 1, 2]

    found, some = written(prompt, 32, guesses, sampling, stop)
    assert found == expected
    assert some.ids == plain.ids
    if len(expected) > 10:
        assert len(some.speculation.learned) > 0


def test_a_right_guess_saves_a_pass():
    expected, plain = written([1, 2], 12)
    found, some = written([1, 2], 12, lambda ids: plain.ids[len(ids) : len(ids) + 4])
    assert found == expected
    assert some.speculation.learned == [(4, 4), (4, 4)]  # 1, 5, 5 and 1 tokens


# --- the n-gram model ----------------------------------------------------------------------------


def by_hand(text, k):
    """The k tokens after the last place where the longest context occurred before."""
    for order in ORDERS:
        places = [
            end for end in range(order, len(text)) if text[end - order : end] == text[-order:]
        ]
        if places and len(text) >= order:
            guesses = list(text)
            for _ in range(k):
                guesses.append(guesses[places[-1] + len(guesses) - len(text)])
            return guesses[len(text) :]
    return []


@given(IDS, IDS, st.integers(1, 8))
@example([7, 1, 2, 3, 1, 2, 3], [], 7)  # beyond the end of a text that repeats itself
def test_guesses_are_what_followed_the_longest_context(first, more, k):
    ngrams = OwnNGrams()
    assert ngrams.guess(first, k) == by_hand(first, k)
    text = first + more
    assert ngrams.guess(text, k) == by_hand(text, k)


# --- what guesses cost ---------------------------------------------------------------------------


@given(st.integers(0, 400), st.lists(st.integers(0, 20), min_size=1, max_size=200))
def test_wrong_guesses_cost_a_twentieth_at_most(prompt, right):
    """However many of the guesses of each pass are right."""
    some, steps, time = Speculation(), 0.0, 0.0
    some._ngrams.guess = lambda text, k: [0] * k
    if prompt > 1:
        some.elapse(prompt)
        steps = time = speculation.OF_PROMPT * prompt
    for n in right:
        guesses = some.guess([0], 100)
        if guesses:
            n = min(n, len(guesses))
            some.learn(len(guesses), n)
            time += 1 + OF_GUESS * len(guesses)
            steps += n + 1
        else:
            some.elapse(1)
            time, steps = time + 1, steps + 1
        assert time <= steps / (1 - SHARE) + 1e-9
    assert time <= 1.05 * steps


def test_right_guesses_grow_and_save_steps():
    some = Speculation()
    some._ngrams.guess = lambda text, k: [0] * k
    some.elapse(1000)
    time, tokens = 0.0, 0
    while tokens < 200:
        guesses = some.guess([0], 100)
        time += 1 + OF_GUESS * len(guesses)
        some.learn(len(guesses), len(guesses))
        tokens += 1 + len(guesses)
    assert tokens / time > 2
    assert some.guess([0], 3) == [0, 0, 0]
    assert some.guess([0], 0) == []


def test_only_large_models_guess(monkeypatch):
    config = LlamaConfig(vocabulary=10, context=64, layers=1, heads=2, width=16)
    large = Llama(config, np.random.default_rng(0))
    assert not batch.Batch(large)._guess
    monkeypatch.setattr(speculation, "LEAST_WEIGHTS", 1000)
    repeats = Sampling(temperature=0, repetition_penalty=0.2)
    some, learned = Continuation([1, 2, 3, 4] * 8, 12, repeats), []
    monkeypatch.setattr(some.speculation, "learn", lambda *counts: learned.append(counts))
    monkeypatch.setattr(speculation, "SHARE", 1.0)
    list(write(large, some))
    assert learned
