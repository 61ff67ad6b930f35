"""Every model has the same gradients of what is trained, whatever else is."""

import numpy as np
import parallel_job
import pytest
from model_checks import batch_of

from minillm.layers.gradients import PartlyTrained
from minillm.training.trained import depths


@pytest.mark.parametrize("make", parallel_job.TASKS)
def test_frozen_layers_change_no_gradient_of_the_others(make):
    task = make()
    model, (loss, batch) = task.model, batch_of(task)
    params, depth_of = model.params, depths(model)
    value, backward = loss(batch, np.random.default_rng(0))
    whole = backward()
    for frozen in range(max(depth_of.values()) + 1):
        trained = {name for name in whole if depth_of[name] >= frozen}
        model.params = PartlyTrained(params, trained)
        same, backward = loss(batch, np.random.default_rng(0))
        assert same == value
        part = backward()
        assert trained <= part.keys()
        for name in trained:
            np.testing.assert_array_equal(part[name], whole[name])


@pytest.mark.parametrize("make", parallel_job.TASKS)
def test_every_weight_may_be_trained_alone(make):
    task = make()
    model, (loss, batch) = task.model, batch_of(task)
    params = model.params
    whole = loss(batch, np.random.default_rng(0))[1]()
    for name, gradient in whole.items():
        model.params = PartlyTrained(params, {name})
        alone = loss(batch, np.random.default_rng(0))[1]()
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(alone[name], gradient, rtol=0, atol=1e-6 * scale, err_msg=name)
