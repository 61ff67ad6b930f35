"""One to one: the gradient, and a task."""

import numpy as np
import pytest
from model_checks import check_model, fit

from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig

pytestmark = pytest.mark.usefixtures("both_twins")


def test_gradient_of_an_image_classifier():
    rng = np.random.default_rng(6)
    model = ImageClassifier(ImageClassifierConfig(5, 3, hidden=4), rng, dtype=np.float64)
    check_model(model, (rng.standard_normal((4, 5)), rng.integers(0, 3, 4)))


def test_an_image_classifier_learns_what_no_linear_one_can():
    images = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    config = ImageClassifierConfig(2, 2, hidden=16)
    model = ImageClassifier(config, np.random.default_rng(7))
    assert fit(model, (images, np.array([0, 1, 1, 0])), steps=200) < 0.05
