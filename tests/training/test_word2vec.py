"""word2vec in training: the parts of a text, and what a training makes of them."""

import signal
import tempfile
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import Memory

from minillm.models.word2vec import Word2Vec, Word2VecConfig
from minillm.training import word2vec
from minillm.training.word2vec import Corpus, Progress, WordCounts, train_word2vec

V, SEED = 20, 3
WORDS = WordCounts([str(word) for word in range(V)], np.arange(V, 0, -1), True)
SETTINGS = SimpleNamespace(
    epochs=3, learning_rate=0.1, seed=SEED, threads=1, checkpoint_seconds=1e9
)


class Lines:
    """A text of sentences, as numbers, in blocks."""

    def __init__(self, sentences, blocks=2):
        self.parts = np.array_split(np.array(sentences, object), blocks)

    def blocks(self):
        for part in self.parts:
            yield "".join(" ".join(map(str, sentence)) + "\n" for sentence in part)


def text():
    rng = np.random.default_rng(0)
    sentences = [rng.integers(0, V, n).tolist() for n in rng.integers(0, 12, 200)]
    return Lines([*sentences, [0]])


@pytest.fixture
def file():
    with tempfile.TemporaryFile() as file:
        yield file


def new_model():
    return Word2Vec(Word2VecConfig(V, 6), WORDS.counts, np.random.default_rng(SEED))


@given(
    st.lists(st.lists(st.integers(0, V - 1), max_size=9), min_size=1, max_size=40),
    st.integers(1, 30),
)
def test_each_sentence_is_in_one_part(sentences, size):
    sentences = [sentence for sentence in sentences if sentence] or [[0, 1]]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile() as file:
        patch.setattr(word2vec, "PART_WORDS", size)
        corpus = Corpus(WORDS, Lines(sentences), file)
        parts = list(corpus.parts())
    assert (corpus.sentences, corpus.words) == (len(sentences), sum(map(len, sentences)))
    found = [ids[a:b].tolist() for ids, s in parts for a, b in pairwise(s)]
    assert found == sentences
    assert all(len(ids) <= size or len(starts) == 2 for ids, starts in parts)


def test_the_first_parts_can_be_left_out(file, monkeypatch):
    monkeypatch.setattr(word2vec, "PART_WORDS", 50)
    corpus, skip = Corpus(WORDS, text(), file), 0
    whole = [ids.tolist() for ids, _ in corpus.parts()]
    for k, (_, starts) in enumerate(corpus.parts()):
        assert [ids.tolist() for ids, _ in corpus.parts(skip)] == whole[k:]
        skip += len(starts) - 1
    assert skip == corpus.sentences


def test_it_learns_from_all_sentences_in_a_row(file, monkeypatch):
    """The same bits as the model's own steps over each epoch, at the rates of the equation.

    The model takes them in larger parts than the training.
    """
    monkeypatch.setattr(word2vec, "PART_WORDS", 50)
    lines, store = text(), Memory()
    model, expected = new_model(), new_model()
    corpus = Corpus(WORDS, lines, file)
    assert train_word2vec(model, corpus, SETTINGS, store, Progress(), quiet=True)
    blocks = list(word2vec.encode_sentences(lines.blocks(), WORDS))
    total = SETTINGS.epochs * sum(len(ids) for ids, _ in blocks)
    words = sentences = 0
    for _ in range(SETTINGS.epochs):
        for ids, starts in blocks:
            final = word2vec.FINAL_RATE
            rates = np.maximum(final, 0.1 + (final - 0.1) * ((words + starts[:-1]) / total))
            expected.learn(ids, starts, rates, SEED, sentences)
            words, sentences = words + len(ids), sentences + len(rates)
    for name, array in expected.params.items():
        np.testing.assert_array_equal(model.params[name], array)
        np.testing.assert_array_equal(store.best[name], array)
    assert store.metrics[-1]["step"] == total


def test_stopped_by_signals_again_and_again_it_gives_the_same_bits(file, monkeypatch):
    monkeypatch.setattr(word2vec, "PART_WORDS", 50)
    corpus, whole, store = Corpus(WORDS, text(), file), new_model(), Memory()
    assert train_word2vec(whole, corpus, SETTINGS, store, Progress(), quiet=True)
    calls, learn = [], Word2Vec.learn

    def interrupted_learn(*arguments, **options):
        calls.append(None)
        if len(calls) % 7 == 0:
            signal.raise_signal(signal.SIGINT)
        return learn(*arguments, **options)

    monkeypatch.setattr(Word2Vec, "learn", interrupted_learn)
    stopped, progress, sessions, again = new_model(), Progress(), 0, Memory()
    while not train_word2vec(stopped, corpus, SETTINGS, again, progress, quiet=True):
        arrays, values = again.state
        stopped, progress = new_model(), Progress(**values["progress"])
        for name, array in stopped.params.items():
            array[:] = arrays[name]
        sessions += 1
    assert sessions > 2
    assert [r["loss"] for r in store.metrics] == [r["loss"] for r in again.metrics]
    for name, array in whole.params.items():
        np.testing.assert_array_equal(stopped.params[name], array)
