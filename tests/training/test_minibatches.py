"""The tasks of random minibatches, and what their validation measures."""

import numpy as np
import pytest

from minillm.data import Minibatches, Sequences
from minillm.training.minibatches import ClassificationTask


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
