"""The gradient of several batches is that of one large batch, for every kind of task."""

import numpy as np
import parallel_job
import pytest

from minillm.data.masking import MaskedBatch, Masking
from minillm.errors import InputError
from minillm.training.loop import _gradient
from minillm.training.trained import Trained

TASKS = [make for make in parallel_job.TASKS if make is not parallel_job.one_row]


class Recorded:
    """A loss of a model that keeps its arguments."""

    def __init__(self, loss):
        self.loss, self.calls = loss, []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self.loss(*arguments)

    def of_all(self):
        """The loss of all batches as one, and its backward."""
        loss, backward = self.loss(*joined(self.calls))
        return loss[0] if isinstance(loss, tuple) else loss, backward


def joined(parts):
    """Join the rows of arguments of several calls; they may be nested."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, MaskedBatch):
        return MaskedBatch(*(joined(list(column)) for column in zip(*parts, strict=True)))
    if isinstance(first, tuple):
        return tuple(joined(list(column)) for column in zip(*parts, strict=True))
    if isinstance(first, float):
        return 1.0  # the share of a whole batch
    if not isinstance(first, np.ndarray) or (first is parts[-1] and len(parts) > 1):
        return first  # the random generator, or weights of classes
    if first.dtype.kind == "f" or first.ndim == 1:
        return np.concatenate(parts)
    longest = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(p, ((0, 0), (0, longest - p.shape[1]))) for p in parts])


def check(make, batch, longest, accumulate):
    task = make(batch=batch, longest=longest)
    name = "window_loss" if hasattr(task.model, "window_loss") else "loss"
    recorded = Recorded(getattr(task.model, name))
    setattr(task.model, name, recorded)
    loss, grads, tokens = _gradient(
        task, np.random.default_rng(0), accumulate, Trained(task.model.params)
    )
    one_loss, one_backward = recorded.of_all()
    assert len(recorded.calls) == accumulate
    assert loss == pytest.approx(float(one_loss), rel=1e-9)
    assert tokens > 0
    expected = one_backward()
    assert grads.keys() == expected.keys() == parallel_job.weights_of(task.model).keys()
    for key, g in expected.items():
        np.testing.assert_allclose(grads[key], g, rtol=1e-7, atol=1e-11, err_msg=key)


@pytest.mark.parametrize("make", TASKS)
@pytest.mark.parametrize("longest", [1, 40])
def test_accumulated_batches_are_one_batch(make, longest):
    check(make, batch=3, longest=longest, accumulate=3)


def test_batches_without_a_token_to_hide_are_an_error_of_one_line():
    task = parallel_job.bert()
    task.masking = Masking(2, np.arange(parallel_job.V) == 1)  # [SEP] is no token of the text
    task.batches.sep = 0
    with pytest.raises(InputError, match="the passages have no token that could be hidden"):
        _gradient(task, np.random.default_rng(0), 3, Trained(task.model.params))
