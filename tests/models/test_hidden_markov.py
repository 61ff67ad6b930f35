"""Chains and hidden Markov models, compared with sums over all paths."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.models.chain import best_paths, log_partition
from minillm.models.hidden_markov import HiddenMarkov
from minillm.testing import check_gradients
from minillm.testing.strategies import generators


def some_chains(rng, K, T, B=2):
    return [3 * rng.standard_normal(shape) for shape in ((K,), (K, K), (B, T, K))]


def all_paths(start, transitions, scores):
    """The score of every path of one chain, scores (T, K)."""
    T, K = scores.shape
    return {
        path: start[path[0]]
        + sum(scores[t, path[t]] for t in range(T))
        + sum(transitions[pair] for pair in itertools.pairwise(path))
        for path in itertools.product(range(K), repeat=T)
    }


@given(generators(), st.integers(1, 3), st.integers(1, 5))
def test_forward_sums_all_paths_and_viterbi_finds_the_best(rng, K, T):
    start, transitions, scores = some_chains(rng, K, T)
    log_Z, _ = log_partition(start, transitions, scores)
    best = best_paths(start, transitions, scores)
    for b in range(len(scores)):
        paths = all_paths(start, transitions, scores[b])
        assert log_Z[b] == pytest.approx(np.log(np.exp(list(paths.values())).sum()))
        assert paths[tuple(best[b])] == pytest.approx(max(paths.values()))


@given(generators(), st.integers(1, 3), st.integers(1, 4))
def test_the_backward_is_the_gradient_of_log_Z(rng, K, T):
    check_gradients(log_partition, *some_chains(rng, K, T), rng=rng)


def test_the_gradient_holds_the_share_of_the_paths_through_each_state_and_pair():
    start, transitions, scores = some_chains(np.random.default_rng(0), K=3, T=4, B=1)
    log_Z, backward = log_partition(start, transitions, scores)
    dstart, dtransitions, dscores = backward(np.ones(1))
    states, pairs = np.zeros((4, 3)), np.zeros((3, 3))
    for path, score in all_paths(start, transitions, scores[0]).items():
        p = np.exp(score - log_Z[0])
        states[range(4), path] += p
        np.add.at(pairs, (path[:-1], path[1:]), p)
    np.testing.assert_allclose(dscores[0], states)
    np.testing.assert_allclose(dstart, states[0])
    np.testing.assert_allclose(dtransitions, pairs)


def test_long_chains_neither_overflow_nor_underflow():
    start, transitions, scores = some_chains(np.random.default_rng(1), K=4, T=2000)
    log_Z, _ = log_partition(start, transitions, scores + 5)
    other, _ = log_partition(start, transitions, scores - 5)
    np.testing.assert_allclose(log_Z - other, 2000 * 10)


def a_model(rng, K=3, V=4):
    model = HiddenMarkov(K, V, rng)
    shapes = {name: weight.shape for name, weight in model.params.items()}
    model.set({name: rng.exponential(size=shape) for name, shape in shapes.items()})
    return model


def test_the_probabilities_of_all_texts_sum_to_one():
    model = a_model(np.random.default_rng(2))
    log_p, _ = model.log_likelihood(np.array(list(itertools.product(range(4), repeat=3))))
    assert np.exp(log_p).sum() == pytest.approx(1)


def test_a_text_has_the_product_of_the_probabilities_of_its_tokens():
    rng = np.random.default_rng(3)
    model, ids = a_model(rng), rng.integers(0, 4, (1, 9))
    log_p, _ = model.log_likelihood(ids)
    assert model.probabilities(ids[0]).sum() == pytest.approx(log_p[0])
    each = [np.exp(model.probabilities(np.append(ids[0], w))[-1]) for w in range(4)]
    assert sum(each) == pytest.approx(1)


def test_the_gradient_of_the_likelihood():
    rng = np.random.default_rng(4)
    model, ids = a_model(rng), rng.integers(0, 4, (2, 5))

    def log_likelihood(*weights):
        model.params = dict(zip(model.params, weights, strict=True))
        log_p, backward = model.log_likelihood(ids)
        return log_p, lambda dlog_p: tuple(backward(dlog_p).values())

    check_gradients(log_likelihood, *model.params.values(), rng=rng)


@given(generators())
def test_em_never_lowers_the_likelihood(rng):
    model, ids = a_model(rng), rng.integers(0, 4, (3, 6))
    found = [model.learn(ids) for _ in range(12)]
    assert (np.diff(found) > -1e-12).all()
    assert found[-1] > found[0]


def test_em_finds_two_states_that_alternate():
    rng = np.random.default_rng(6)  # from some others, EM ends on a lower hill
    ids = rng.integers(0, 2, (20, 30)) + np.where(np.arange(30) % 2, 2, 0)  # 0 or 1, then 2 or 3
    model = HiddenMarkov(2, 4, rng)
    for _ in range(60):
        last = model.learn(ids)
    assert last == pytest.approx(-np.log(2), abs=0.01)  # one bit a token, and none for the states
    assert (np.exp(model.params["transitions"]).max(axis=1) > 0.99).all()
