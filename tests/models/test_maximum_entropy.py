"""The maximum entropy model: its gradient, and what it promises at the maximum."""

import numpy as np
import pytest

from minillm import ops
from minillm.models.maximum_entropy import MaximumEntropy, MaximumEntropyConfig
from minillm.testing import check_gradients

V, CONFIG = 4, MaximumEntropyConfig(vocabulary=4, distances=2, memory=5)


def some_words(rng, B):
    return rng.integers(0, V, (B, CONFIG.memory)), rng.integers(0, V, B)


@pytest.mark.parametrize("prior", [0.0, 0.3])
def test_the_gradient_of_the_loss(prior):
    rng = np.random.default_rng(0)
    config, batch = MaximumEntropyConfig(V, 2, 5, prior), some_words(rng, 6)
    shapes = MaximumEntropy.shapes(config)

    def loss(*weights):
        model = MaximumEntropy(config, params=dict(zip(shapes, weights, strict=True)))
        value, backward = model.loss(batch)
        return value, lambda d: tuple(d * backward()[name] for name in shapes)

    weights = [rng.standard_normal(shape) for shape in shapes.values()]
    check_gradients(loss, *weights, rng=rng)


def test_at_the_maximum_each_feature_is_expected_as_often_as_it_was_observed():
    rng = np.random.default_rng(1)
    context, targets = some_words(rng, 400)
    model = MaximumEntropy(CONFIG, rng, dtype=np.float64)
    for _ in range(2000):
        _, backward = model.loss((context, targets))
        for name, gradient in backward().items():
            model.params[name] -= 0.8 * gradient
    p = np.exp(logits := model.forward(context)[0])
    p /= p.sum(axis=1, keepdims=True)
    assert logits.shape == (400, V)
    one_hot = np.eye(V)
    seen = (context[:, :, None] == np.arange(V)).any(axis=1)
    for k in (1, 2):
        at = one_hot[context[:, -k]]
        np.testing.assert_allclose(at.T @ p, at.T @ one_hot[targets], atol=0.02)
    np.testing.assert_allclose((seen * p).sum(0), (seen * one_hot[targets]).sum(0), atol=0.02)


def test_beyond_the_distances_the_order_of_the_words_does_not_matter():
    rng = np.random.default_rng(2)
    context, _ = some_words(rng, 3)
    model = MaximumEntropy(CONFIG, rng, dtype=np.float64)
    for weight in model.params.values():
        weight += rng.standard_normal(weight.shape)
    logits, _ = model.forward(context)
    turned = np.concatenate([context[:, 2::-1], context[:, 3:]], axis=1)
    np.testing.assert_array_equal(model.forward(turned)[0], logits)
    assert not np.array_equal(model.forward(context[:, ::-1])[0], logits)


def test_a_text_is_read_word_by_word():
    rng = np.random.default_rng(4)
    model = MaximumEntropy(CONFIG, rng, dtype=np.float64)
    for weight in model.params.values():
        weight += rng.standard_normal(weight.shape)
    ids = rng.integers(0, V, 9)
    found = model.probabilities(ids)
    for t in range(9):
        every = [model.probabilities(np.append(ids[:t], w))[-1] for w in range(V)]
        assert np.exp(every).sum() == pytest.approx(1)
        assert every[ids[t]] == pytest.approx(found[t])


def test_without_evidence_all_words_are_alike():
    rng = np.random.default_rng(3)
    logits, _ = MaximumEntropy(CONFIG, rng).forward(some_words(rng, 2)[0])
    assert ops.cross_entropy(logits, np.array([1, 3]))[0] == pytest.approx(np.log(V))


def test_a_prior_below_zero_is_refused():
    with pytest.raises(ValueError, match="prior"):
        MaximumEntropyConfig(V, prior=-1.0)
