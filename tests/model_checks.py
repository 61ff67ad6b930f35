"""What the tests of layers and models do: check gradients, fit one batch."""

import numpy as np

from minillm.testing import check_gradients, check_projections
from minillm.training import Adam


def check_model(model, batch, **options):
    """The gradient of every parameter, with dropout and the like.

    The options are those of the model's loss.
    """
    rng = np.random.default_rng(1)
    for name, parameter in model.params.items():
        if parameter.ndim == 1:  # biases that are zero hide mistakes
            model.params[name] = 0.5 * rng.standard_normal(parameter.shape)

    def loss():
        return model.loss(batch, np.random.default_rng(2), **options)

    gradients = loss()[1]()
    assert gradients.keys() == model.params.keys()
    check_projections(loss, model.params, rng=rng, directions=1)


def check_layer(layer, params, x, rng, state=None):
    """Every coordinate of a layer's gradients.

    ``layer(params, x)`` -> y, backward, whose ``backward(dy)`` -> dx, gradients; or, with a
    state, ``layer(params, x, state)`` -> (y, state), backward, whose ``backward(dy, dstate)``
    -> dx, dstate, gradients.  x may be ids, which have no gradient.
    """
    state, floats = state or {}, [x] if x.dtype.kind == "f" else []

    def op(*arrays):
        arrays = list(arrays)
        own_x = arrays.pop(0) if floats else x
        own_state = {name: arrays.pop(0) for name in state}
        own_params = dict(zip(params, arrays, strict=True))
        if state:
            (y, last), layer_backward = layer(own_params, own_x, own_state)
        else:
            y, layer_backward = layer(own_params, own_x)
            last = {}

        def backward(dy, *dlast):
            if state:
                given = {n: d for n, d in zip(last, dlast, strict=True) if d is not None}
                dx, dstate, gradients = layer_backward(dy, given)
            else:
                (dx, gradients), dstate = layer_backward(dy), {}
            assert dstate.keys() == state.keys()
            assert gradients.keys() == params.keys()
            assert floats or dx is None
            dx = [dx] if floats else []
            found = *dx, *(dstate[n] for n in state), *(gradients[n] for n in params)
            return found if len(found) > 1 else found[0]

        return (y, *last.values()) if state else y, backward

    check_gradients(op, *floats, *state.values(), *params.values(), rng=rng)


def fit(model, batch, steps, learning_rate=0.01):
    """The loss of one batch after some steps on it."""
    optimiser = Adam(model.params)
    for _ in range(steps):
        _, backward = model.loss(batch)
        optimiser.step(backward(), learning_rate)
    return float(model.loss(batch)[0])
