"""Masked diffusion: the bound by enumeration, the loss and its gradient, and what is written."""

from itertools import combinations, permutations, product
from math import comb

import numpy as np
import pytest

from minillm.models import masked_diffusion
from minillm.models.bert import BERT, BERTConfig

V, T = 2, 3
TEXTS = np.array([*product(range(V), repeat=T)])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def model(rng):
    return BERT(BERTConfig(V + 1, context=T, layers=1, heads=2, width=8), rng, dtype=np.float64)


def by(model):
    """The model's ln p(x_i | tokens outside M), with M the masked ones, as a function."""

    def log_p(x, i, M):
        read = x.copy()
        read[list(M)] = V
        logits = model.masked_words(model.hidden(read[None])[0][0, [i]])[0][0, :V]
        return logits[x[i]] - np.logaddexp.reduce(logits)

    return log_p


def of_joint(q):
    """The same of a known distribution q[x_0, x_1, x_2]."""

    def log_p(x, i, M):
        visible = [slice(None) if k in M else slice(x[k], x[k] + 1) for k in range(T)]
        with_i = [slice(x[k], x[k] + 1) if k == i else part for k, part in enumerate(visible)]
        return np.log(q[tuple(with_i)].sum() / q[tuple(visible)].sum())

    return log_p


def bound(log_p, x):
    """The bound on ln p(x): sum over M of 1 / (k binomial(T, k)) sum over i in M of ln p."""
    return sum(
        log_p(x, i, M) / (k * comb(T, k))
        for k in range(1, T + 1)
        for M in combinations(range(T), k)
        for i in M
    )


def log_probability(log_p, x):
    """ln of the mean over all orders of the probability of writing x in this order."""
    orders = [sum(log_p(x, o[j], o[j:]) for j in range(T)) for o in permutations(range(T))]
    return np.logaddexp.reduce(orders) - np.log(len(orders))


def test_of_a_known_distribution_the_bound_is_the_log_likelihood(rng):
    q = rng.dirichlet(np.ones(V**T)).reshape([V] * T)
    for x in TEXTS:
        assert bound(of_joint(q), x) == pytest.approx(np.log(q[tuple(x)]), abs=1e-12)
        assert log_probability(of_joint(q), x) == pytest.approx(np.log(q[tuple(x)]), abs=1e-12)


def test_of_any_model_it_is_at_most_the_log_likelihood(model):
    bounds = np.array([bound(by(model), x) for x in TEXTS])
    logs = np.array([log_probability(by(model), x) for x in TEXTS])
    assert np.exp(logs).sum() == pytest.approx(1)
    assert (bounds < logs).all()
    assert (logs - bounds).max() > 1e-4  # the orders of random weights disagree


def test_one_over_t_weighs_each_set_as_a_uniform_number_of_masks_does():
    t = (np.arange(100_000) + 0.5) / 100_000
    for k in range(1, T + 1):
        assert np.mean(t ** (k - 1) * (1 - t) ** (T - k)) == pytest.approx(1 / (k * comb(T, k)))


def test_the_mean_loss_is_minus_the_bound(model, rng):
    for x in TEXTS[[1, 6]]:
        losses = [
            float(masked_diffusion.loss(model, np.tile(x, (50, 1)), rng)[0]) for _ in range(40)
        ]
        error = np.std(losses) / np.sqrt(len(losses))
        assert abs(np.mean(losses) + bound(by(model), x) / T) < 4 * error


def test_its_gradient_is_a_central_difference(model, rng):
    ids = rng.integers(0, V, (5, T))
    _, backward = masked_diffusion.loss(model, ids, np.random.default_rng(3))
    gradients = backward()
    assert gradients.keys() == model.params.keys()
    directions = {name: rng.standard_normal(p.shape) for name, p in model.params.items()}
    for name, direction in directions.items():
        sides = []
        for h in (1e-6, -1e-6):
            moved = BERT(
                model.config, params=model.params | {name: model.params[name] + h * direction}
            )
            sides.append(masked_diffusion.loss(moved, ids, np.random.default_rng(3))[0])
        slope = (sides[0] - sides[1]) / 2e-6
        assert (gradients[name] * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("steps", [1, T])
def test_what_is_written_has_the_probabilities_of_its_steps(model, rng, steps):
    n = 20_000
    model.params["embedding.E"] *= 3  # probabilities that differ
    written = masked_diffusion.write(model, np.full((n, T), V), steps, rng)
    log_p = by(model)
    everything = range(T)
    for x in TEXTS:
        alone = sum(log_p(x, i, everything) for i in everything)
        p = np.exp(alone if steps == 1 else log_probability(log_p, x))
        share = (written == x).all(axis=1).mean()
        assert abs(share - p) < 5 * np.sqrt(p * (1 - p) / n)


def test_a_text_that_is_given_stays(model, rng):
    ids = np.array([[0, V, 1], [V, V, 0], [1, 1, 1]])
    written = masked_diffusion.write(model, ids, 2, rng)
    assert (written[ids < V] == ids[ids < V]).all()
    assert written.max() < V
