"""Ids, lengths and labels that are no whole numbers are refused by the loss of every model."""

import numpy as np
import parallel_job
import pytest
from model_checks import batch_of

from minillm.decoding import Reader
from minillm.models.bag_of_ngrams import Bag, BagConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.training.minibatches import ClassificationTask


def bag(batch=5, longest=8):
    model = parallel_job.new(Bag, BagConfig, 3, 40)
    columns = parallel_job.texts(1, longest=longest), parallel_job.labels(2, 3)
    return ClassificationTask(model, *parallel_job.minibatches(*columns, batch=batch))


@pytest.mark.parametrize("make", [*parallel_job.TASKS, bag])
def test_numbers_that_are_not_whole_are_refused(make):
    loss, batch = batch_of(make())
    columns = [
        k
        for k, entry in enumerate(batch)
        if isinstance(entry, np.ndarray) and entry.dtype.kind in "iu"
    ]
    assert columns
    for wrong in columns:
        entries = [entry + 0.2 if k == wrong else entry for k, entry in enumerate(batch)]
        entries = type(batch)(*entries) if hasattr(batch, "_fields") else tuple(entries)
        # A recurrence takes vectors in place of ids: floats lack an axis.
        with pytest.raises(
            (TypeError, ValueError), match=r"expected (integers, found float64|shape)"
        ):
            loss(entries)


@pytest.mark.parametrize("lengths", [[1.9], [0], [3], [[1]], [2**40], ["2"]])
def test_lengths_of_a_prompt_are_whole_numbers(lengths):
    config = GPTConfig(7, context=8, layers=1, heads=2, width=4)
    reader = Reader(GPT(config, np.random.default_rng(0)))
    with pytest.raises((TypeError, ValueError), match=r"^read: .*expected .*, found"):
        reader.read(np.array([[1, 2]]), reader.zero_state(1), np.array(lengths))
