"""What the tests of several models do: check a whole model's gradient, fit one batch."""

import numpy as np

from minillm import use_kernels
from minillm.testing import check_projections
from minillm.training import Adam


def check_model(model, batch, kernels):
    """The gradient of every parameter, dropout and the like included."""
    rng = np.random.default_rng(1)
    for name, parameter in model.params.items():
        if parameter.ndim == 1:  # biases that are zero hide mistakes
            model.params[name] = 0.5 * rng.standard_normal(parameter.shape)

    def loss():
        return model.loss(batch, np.random.default_rng(2))

    with use_kernels(kernels):
        check_projections(loss, model.params, rng=rng, directions=1)


def fit(model, batch, steps, learning_rate=0.01):
    """The loss of one batch after some steps on it."""
    optimiser = Adam(model.params)
    for _ in range(steps):
        _, backward = model.loss(batch)
        optimiser.step(backward(), learning_rate)
    return float(model.loss(batch)[0])
