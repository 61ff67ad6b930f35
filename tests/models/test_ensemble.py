"""Several classifiers as one: gradients, and what they answer together."""

import numpy as np
import pytest
from model_checks import check_model, fit

from minillm import ops
from minillm.models.classifier import Classifier, ClassifierConfig
from minillm.models.ensemble import Ensemble
from minillm.testing import check_projections

SIZES = {"vocabulary": 6, "classes": 3, "embedding": 3, "hidden": 4, "cell": "cnn", "members": 3}


def ensemble(dtype=np.float64, **options):
    return Ensemble(ClassifierConfig(**(SIZES | options)), np.random.default_rng(0), dtype=dtype)


def texts(rng, B=4, T=5):
    return rng.integers(0, 6, (B, T)), np.array([T, 2, 1, 3]), rng.integers(0, 3, B)


@pytest.mark.parametrize("cell", ["cnn", "gru"])
def test_gradient_of_an_ensemble(cell):
    model = ensemble(cell=cell, word_dropout=0.2)
    weights = np.array([0.5, 2.0, 1.0])
    check_model(model, texts(np.random.default_rng(1)), class_weights=weights)


def test_gradient_of_the_probabilities_that_are_averaged():
    model, (ids, lengths, labels) = ensemble(), texts(np.random.default_rng(1))

    def loss():
        logits, backward = model.forward(ids, lengths)
        found, loss_backward = ops.cross_entropy(logits, labels)
        return found, lambda: backward(loss_backward())

    check_projections(loss, model.params, rng=np.random.default_rng(2), directions=1)


def test_it_answers_with_the_mean_of_its_members_probabilities():
    model, (ids, lengths, _) = ensemble(), texts(np.random.default_rng(1))
    answers = [ops.softmax(member.forward(ids, lengths)[0])[0] for _, member in model.members()]
    assert not np.allclose(answers[0], answers[1])  # they have begun from other weights
    together, _ = ops.softmax(model.forward(ids, lengths)[0])
    np.testing.assert_allclose(together, np.mean(answers, axis=0), rtol=1e-12)


def test_a_probability_of_zero_has_a_finite_logarithm():
    model = ensemble(np.float32)
    for name, p in model.params.items():
        if name.endswith("output.b"):
            p[:] = [0, 1000, 0]
    logits, backward = model.forward(*texts(np.random.default_rng(1))[:2])
    assert np.isfinite(logits).all()
    with np.errstate(all="raise"):
        assert all(np.isfinite(g).all() for g in backward(np.ones_like(logits)).values())


def test_the_members_are_classifiers_with_the_weights_of_the_whole():
    model = ensemble()
    for prefix, member in model.members():
        assert isinstance(member, Classifier)
        for name, p in member.params.items():
            assert p is model.params[f"{prefix}{name}"]


def test_it_learns():
    rng = np.random.default_rng(5)
    ids, labels = rng.integers(3, 20, (64, 12)), rng.integers(0, 3, 64)
    ids[np.arange(64), rng.integers(0, 12, 64)] = labels
    model = ensemble(np.float32, vocabulary=20, embedding=8, hidden=8, members=2)
    assert fit(model, (ids, np.full(64, 12), labels), steps=60) < 0.1
