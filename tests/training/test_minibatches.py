"""The tasks of random minibatches, and what their validation measures."""

import numpy as np
import pytest

from minillm.data import Minibatches, Sequences
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.training.minibatches import ClassificationTask, mean_loss


def test_a_span_is_right_if_both_of_its_places_are():
    class Fixed:
        """Always the first token, twice as probable as the other."""

        def forward(self, question, question_lengths, context, lengths):
            logits = np.full((len(context), 2, context.shape[1]), -np.inf)
            logits[:, :, 1], logits[:, :, 2] = np.log(2), 0
            return logits, None

    questions, contexts = Sequences([[5, 3]] * 4), Sequences([[2, 6, 7, 3]] * 4)
    places = np.array([[1, 1], [1, 2], [2, 1], [2, 2]])
    batches = Minibatches((questions, contexts, places), 3, 0)
    task = ClassificationTask(Fixed(), batches, batches, measure="exact_spans")
    # the places 1 have the probability 2/3, the places 2 1/3
    assert task.validation_loss() == pytest.approx(-(np.log(2 / 3) + np.log(1 / 3)) / 2)
    assert task.measures == {"exact_spans": 0.25}


def test_a_classification_task_measures_the_loss_and_the_accuracy_at_once():
    rng = np.random.default_rng(0)
    images, classes = rng.random((30, 4)).astype(np.float32), rng.integers(0, 3, 30)
    model = ImageClassifier(ImageClassifierConfig(4, 3, 5), rng)
    batches = Minibatches((images, classes), 8, 0)
    task = ClassificationTask(model, batches, batches)
    loss = task.validation_loss()
    assert loss == pytest.approx(mean_loss(model, batches, lambda batch: len(batch[0])))
    assert loss == pytest.approx(float(model.loss((images, classes))[0]))  # the last batch has 6
    expected = (model.forward(images)[0].argmax(axis=1) == classes).mean()
    assert task.measures == {"accuracy": pytest.approx(expected)}
