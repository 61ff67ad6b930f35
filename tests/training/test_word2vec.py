"""word2vec in training: the shares of several ranks, and what they make of them together."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import Memory
from mpiexec import ROOT, run
from word2vec_job import SEED, SETTINGS, WORDS, Lines, V, corpus_of, new_model, text

from minillm.training import word2vec, word2vec_corpus
from minillm.training.word2vec import Progress, learning_rates

# --- shares -------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, V - 1), max_size=9), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(1, 30),
)
def test_each_sentence_is_in_one_share(sentences, size, share):
    """In every epoch, whatever the number of ranks, and under its own number."""
    sentences = [sentence for sentence in sentences if sentence] or [[0, 1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word2vec_corpus, "SHARED_WORDS", share)
        corpora = [corpus_of(Lines(sentences), rank, size) for rank in range(size)]
    known = [len(sentences), sum(map(len, sentences))]
    assert all([corpus.sentences, corpus.words] == known for corpus in corpora)
    results, words = {}, {}
    first = np.zeros(2, int)  # sentences and words before the share
    for shares in zip(*(corpus.shares() for corpus in corpora), strict=True):
        for share in shares:
            number, before = first[0] + share.sentences_before, first[1] + share.words_before
            for k, (a, b) in enumerate(pairwise(share.starts.tolist())):
                assert number + k not in results
                results[number + k] = share.ids[a:b].tolist()
                words[number + k] = before + a
            assert share.words == sum(len(other.ids) for other in shares)
            assert share.sentences == sum(len(other.starts) - 1 for other in shares)
            longest = max(map(len, sentences))
            assert abs(len(share.ids) - share.words / size) <= longest
        first += (shares[0].sentences, shares[0].words)
    assert [results[k] for k in range(len(sentences))] == sentences
    ends = np.cumsum([0, *map(len, sentences)]).tolist()
    assert [words[k] for k in range(len(sentences))] == ends[:-1]


def test_the_first_shares_can_be_left_out(monkeypatch):
    monkeypatch.setattr(word2vec_corpus, "SHARED_WORDS", 50)
    corpus = corpus_of(text(), 1, 3)
    whole = [share.ids.tolist() for share in corpus.shares()]
    skip = 0
    for k, share in enumerate(corpus.shares()):
        assert [later.ids.tolist() for later in corpus.shares(skip)] == whole[k:]
        skip += share.sentences
    assert skip == corpus.sentences


# --- one rank ----------------------------------------------------------------------------


def test_one_rank_learns_from_all_sentences_in_a_row():
    """The same bits as the model's own steps over each epoch, at the rates of the equation."""
    lines, store = text(), Memory()
    model, expected = new_model(), new_model()
    assert word2vec.train_word2vec(model, corpus_of(lines), SETTINGS, store, Progress(), quiet=True)
    blocks = list(word2vec_corpus.encode_sentences(lines.blocks(), WORDS))
    total = SETTINGS.epochs * sum(len(ids) for ids, _ in blocks)
    words = sentences = 0
    for _ in range(SETTINGS.epochs):
        for ids, starts in blocks:
            rates = np.maximum(1e-3, 0.1 + (1e-3 - 0.1) * ((words + starts[:-1]) / total))
            expected.learn(ids, starts, rates, SEED, sentences)
            words, sentences = words + len(ids), sentences + len(rates)
    for name, array in expected.params.items():
        np.testing.assert_array_equal(model.params[name], array)
        np.testing.assert_array_equal(store.best[name], array)
    assert store.metrics[-1]["step"] == total


def test_the_rate_at_the_start_grows_with_the_ranks_to_a_limit(monkeypatch):
    for size, times in ((1, 1), (2, 2), (8, 8), (9, 8), (1000, 8)):
        monkeypatch.setattr(word2vec, "ranks", lambda size=size: SimpleNamespace(size=size))
        assert word2vec.starting_rate(0.025) == 0.025 * times


# --- two ranks -----------------------------------------------------------------------------


def together(lines, size, settings):
    """The vectors that ``size`` ranks make of a text, in this process, and the losses between."""
    corpora = [corpus_of(lines, rank, size) for rank in range(size)]
    models = [new_model() for _ in range(size)]
    total, words, sentences, met = settings.epochs * corpora[0].words, 0, 0, 0
    first = settings.learning_rate * size
    losses, sums = [], np.zeros(2)
    for _ in range(settings.epochs):
        for shares in zip(*(corpus.shares() for corpus in corpora), strict=True):
            for model, share in zip(models, shares, strict=True):
                before = words + share.words_before
                rates = learning_rates(before, share.starts, total, first, settings.final_rate)
                number = sentences + share.sentences_before
                sums += model.learn(share.ids, share.starts, rates, SEED, number)
            words, sentences = words + shares[0].words, sentences + shares[0].sentences
            if words - met >= size * 100 or words == total:
                met = words
                losses.append(sums[0] / sums[1])
                sums[:] = 0
                for name in models[0].params:
                    mean = sum(model.params[name] for model in models) / np.float32(size)
                    for model in models:
                        model.params[name][:] = mean
    return models[0].params | {"losses": np.array(losses)}


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.deep)])
def test_ranks_learn_together(tmp_path, monkeypatch, size):
    """As in one process; all replicas are equal when they have met; resumed is uninterrupted."""
    status, _, errors = run(size, ROOT / "tests" / "word2vec_job.py", tmp_path / "params.npz")
    assert status == 0, errors
    monkeypatch.setattr(word2vec_corpus, "SHARED_WORDS", 50)
    monkeypatch.setattr(word2vec, "AVERAGE_EVERY", 100)
    expected, results = together(text(), size, SETTINGS), np.load(tmp_path / "params.npz")
    for name, array in expected.items():
        if size == 2 and name != "losses":  # of three, MPI may sum in another order
            np.testing.assert_array_equal(results[name], array)
        np.testing.assert_allclose(results[name], array, rtol=1e-4, atol=1e-6)
