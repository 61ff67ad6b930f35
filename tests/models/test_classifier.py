"""Many to one: gradients, padding, and a task."""

import numpy as np
import pytest
from model_checks import check_model, check_rows, fit, labelled_texts
from usual import originals_deep, usual_kernels

from minillm.models.classifier import CLASSIFIER_POOLINGS, Classifier, ClassifierConfig

pytestmark = pytest.mark.usefixtures("both_twins")
CELLS = ("rnn", "lstm", "gru")


def classifier(dtype=np.float64, **options):
    config = ClassifierConfig(
        **{"vocabulary": 6, "classes": 3, "embedding": 3, "hidden": 4, "layers": 2, **options}
    )
    return Classifier(config, np.random.default_rng(0), dtype=dtype)


@originals_deep
@pytest.mark.parametrize("pooling", CLASSIFIER_POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradient_of_a_classifier(pooling, bidirectional, cell):
    model = classifier(pooling=pooling, bidirectional=bidirectional, cell=cell)
    check_model(model, labelled_texts(np.random.default_rng(3)))


def test_gradient_with_class_weights():
    model = classifier()
    weights = np.array([0.5, 3.0, 1.0])
    check_model(model, labelled_texts(np.random.default_rng(3)), class_weights=weights)


@pytest.mark.parametrize("pooling", CLASSIFIER_POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_and_batch_mates_change_no_logits(pooling, bidirectional):
    check_rows(classifier(pooling=pooling, bidirectional=bidirectional))


@usual_kernels
@pytest.mark.deep
@pytest.mark.parametrize("pooling", CLASSIFIER_POOLINGS)
def test_a_classifier_finds_the_one_word_that_matters(pooling):
    """One of three words occurs somewhere in the text, and decides the label."""
    rng = np.random.default_rng(5)
    ids, labels = rng.integers(3, 20, (64, 12)), rng.integers(0, 3, 64)
    ids[np.arange(64), rng.integers(0, 12, 64)] = labels
    model = classifier(
        np.float32, vocabulary=20, embedding=16, hidden=16, layers=1, pooling=pooling
    )
    assert fit(model, (ids, np.full(64, 12), labels), steps=60) < 0.05
