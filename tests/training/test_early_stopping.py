"""Epochs as a length, and runs that end by themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import Minibatches, RandomWindows, Sequences, Windows
from minillm.data.masking import Passages
from minillm.errors import InputError
from minillm.training import Options
from minillm.training.loop import Summary


def weights_of(folder):
    """The best weights, and those of the checkpoint."""
    return folder.load_model()["table"], folder.load_resume()[0]["params/table"]


def validations_of(folder):
    return [record["step"] for record in folder.read_metrics() if "validation_loss" in record]


# --- epochs ----------------------------------------------------------------------------------


def test_epochs_are_as_many_steps_as_they_have_batches(run_bigram, bigram):
    _, _, steps = run_bigram("steps", steps=21, validations=3)
    summary, task, epochs = run_bigram("epochs", task=bigram(epoch=7), epochs=3, validations=3)
    assert (summary.step, task.batches) == (21, 21)
    for one, other in zip(weights_of(steps), weights_of(epochs), strict=True):
        assert np.array_equal(one, other)  # so that the learning rates were the same, too
    assert validations_of(steps) == validations_of(epochs) == [7, 14, 21]


def test_an_epoch_counts_batches_where_some_are_one_step(run_bigram, bigram):
    options = {"epochs": 2, "accumulate": 3, "validations": None}
    summary, task, folder = run_bigram("run", task=bigram(epoch=10), **options)
    assert summary.step == 7  # of 3 batches each: the first number of them that reaches 20
    assert task.batches == 21
    assert validations_of(folder) == [4, 7]


@given(st.integers(1, 50), st.integers(1, 7), st.integers(1, 9))
def test_a_run_of_epochs_validates_once_in_each(batches, accumulate, epochs):
    task = type("Task", (), {"batches_per_epoch": batches})
    options = Options(epochs=epochs, accumulate=accumulate, validations=None).of(task)
    step, results = 0, []
    while (before := options.progress(step, 0.0)) < 1:
        step += 1
        if options.validates(before, options.progress(step, 0.0), Summary(step=step)):
            results.append(step)
    assert step == -(-epochs * batches // accumulate)
    each = [-(-(k + 1) * batches // accumulate) for k in range(epochs)]
    assert results == sorted(set(each))


def test_a_task_without_epochs_says_so(run_bigram):
    with pytest.raises(InputError, match=r"epochs: .* have none: give steps or minutes"):
        run_bigram("run", epochs=3)
    with pytest.raises(InputError, match=r"validations: .* no epochs: give a number"):
        run_bigram("run", steps=3, validations=None)


def test_the_data_know_how_many_batches_have_all_of_them():
    rows = Minibatches((Sequences([[1], [2], [3], [1], [2]]),), batch=2, seed=0)
    assert rows.batches_per_epoch == 3
    for _ in range(3):
        rows.next()
    assert rows.position == 3
    ids = np.arange(100)
    assert Windows(ids, batch=2, window=10).batches_per_epoch == 5
    assert Windows(ids[:99], batch=2, window=10).batches_per_epoch == 5
    assert Windows(np.arange(101), batch=2, window=10).batches_per_epoch == 6
    assert RandomWindows(ids, batch=5, window=4).batches_per_epoch == 5
    assert Passages(ids, batch=5, context=12, cls=100, sep=101).batches_per_epoch == 2


# --- patience --------------------------------------------------------------------------------


def test_it_stops_after_validations_without_a_better_loss(run_bigram, bigram):
    task = bigram(epoch=4, losses=[5.0, 3.0, 3.0, 4.0, 2.0, 2.5, 2.0, 9.0, 1.0])
    options = {"epochs": 50, "validations": None, "patience": 3}
    summary, _, folder = run_bigram("run", task=task, **options)
    assert (summary.step, summary.best_step, summary.best_loss) == (32, 20, 2.0)
    assert summary.waited == 3
    assert not summary.interrupted
    best, last = weights_of(folder)
    assert np.array_equal(best, task.seen[4])  # bit for bit those of the fifth epoch
    assert np.array_equal(last, task.seen[7])
    assert not np.array_equal(best, last)


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_without_patience_it_never_stops(run_bigram, bigram, patience):
    task = bigram(epoch=2, losses=[float(k) for k in range(1, 7)])
    options = {"epochs": 6, "validations": None, "patience": patience}
    summary, *_ = run_bigram("run", task=task, **options)
    assert summary.step == {0: 12, 1: 4, 2: 6}[patience]
    assert summary.best_step == 2


def test_with_more_patience_a_run_that_stopped_goes_on(run_bigram, bigram):
    losses = [3.0, 2.0, 4.0, 4.0, 1.0, 5.0, 5.0, 5.0]
    options = {"epochs": 8, "validations": None}
    _, _, whole = run_bigram(
        "whole", task=bigram(epoch=4, losses=list(losses)), patience=3, **options
    )
    first = bigram(epoch=4, losses=list(losses))
    summary, *_ = run_bigram("parts", task=first, patience=2, **options)
    assert (summary.step, summary.waited) == (16, 2)
    again = bigram(epoch=4, losses=[])  # nothing is left to validate
    summary, *_ = run_bigram("parts", task=again, resume=True, patience=2, **options)
    assert summary.step == 16
    rest = bigram(epoch=4, losses=first.losses)
    summary, _, parts = run_bigram("parts", task=rest, resume=True, patience=3, **options)
    assert (summary.step, summary.best_loss, summary.waited) == (32, 1.0, 3)
    for one, other in zip(weights_of(whole), weights_of(parts), strict=True):
        assert np.array_equal(one, other)


def test_a_loss_that_is_nan_is_no_better_one(run_bigram, bigram):
    task = bigram(epoch=2, losses=[np.nan, 4.0, np.nan, np.nan, 1.0])
    options = {"epochs": 5, "validations": None, "patience": 2}
    summary, *_ = run_bigram("run", task=task, **options)
    assert (summary.step, summary.best_step, summary.best_loss) == (8, 4, 4.0)
