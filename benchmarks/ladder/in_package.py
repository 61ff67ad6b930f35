"""The same GPT as the package has it: minillm.models.gpt, with NumPy's kernels or with Cython's."""

from minillm import use_kernels
from minillm.models.gpt import GPT
from minillm.training import Adam


def new_step(config, params, inputs, targets, learning_rate, kernels):
    """Make a step of Adam on one batch, which returns the loss before it."""
    model = GPT(config, params=params)
    optimiser = Adam(model.params)

    def step():
        with use_kernels(kernels):
            loss, backward = model.loss((inputs, targets))
            optimiser.step(backward(), learning_rate)
        return float(loss)

    return step
