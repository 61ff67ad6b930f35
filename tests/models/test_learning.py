"""Tasks that a recurrence could not learn if its gradient were wrong, on the usual kernels."""

import numpy as np
import pytest

from minillm import ops
from minillm.layers import recurrent
from minillm.layers.fresh import draw_all
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.training.optimisers import Adam, clip_global_norm


def train(params, loss_of_next_batch, steps, learning_rate):
    optimiser = Adam(params)
    for _ in range(steps):
        loss, backward = loss_of_next_batch()
        gradients = backward()
        clip_global_norm(gradients, 1.0)
        optimiser.step(gradients, learning_rate)
    return loss


@pytest.mark.parametrize("cell", recurrent.CELLS)
def test_one_window_is_learnt_by_heart(cell):
    rng = np.random.default_rng(0)
    config = LanguageModelConfig(vocabulary=8, embedding=16, hidden=32, layers=2, cell=cell)
    model = LanguageModel(config, rng)
    inputs, targets = rng.integers(0, 8, (2, 4, 12))  # noise: there is no rule to find
    inputs[:, 0] = range(4)  # but rows can be told apart from the start
    loss = train(model.params, lambda: model.loss((inputs, targets)), 200, 1e-2)
    assert loss < 0.01


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_copying_what_was_read(cell):
    """Read three random symbols, then a separator, then output the three symbols again."""
    rng = np.random.default_rng(1)
    model = LanguageModel(
        LanguageModelConfig(vocabulary=5, embedding=16, hidden=48, cell=cell), rng
    )

    def batch(B=32):
        symbols = rng.integers(1, 5, (B, 3))
        text = np.concatenate([symbols, np.zeros((B, 1), int), symbols], axis=1)
        return text[:, :-1], text[:, 1:]

    train(model.params, lambda: model.loss(batch()), 600, 1e-2)
    inputs, targets = batch(200)
    (logits, _), _ = model.forward(inputs, model.zero_state(200))
    assert np.mean(logits[:, 3:].argmax(-1) == targets[:, 3:]) > 0.98  # chance: 0.25


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_adding_problem(cell):
    """The sum of the two marked numbers of a sequence (Hochreiter and Schmidhuber 1997).

    Always predicting 1 has a mean squared error of 1/6; a lower one needs memory.
    """
    rng = np.random.default_rng(2)
    T, H = 8, 24
    params = draw_all(recurrent.new_layer("layers.0", cell, 2, H), rng, np.float64)
    params |= {"W": 0.1 * rng.standard_normal((H, 1)), "b": np.zeros(1)}

    def loss(B=32):
        values, marks = rng.random((B, T)), np.zeros((B, T))
        marks[np.arange(B), rng.integers(0, T // 2, B)] = 1
        marks[np.arange(B), rng.integers(T // 2, T, B)] = 1
        target = (values * marks).sum(axis=1, keepdims=True)
        x = np.stack([values, marks], axis=-1)  # (B, T, 2)
        state = recurrent.zero_state(params, "layers", cell, 1, B)
        (_, last), layer_backward = recurrent.layer(params, "layers.0", x, state, cell)
        y, linear_backward = ops.linear(last["layers.0.h"], params["W"], params["b"])

        def backward():
            dh, dW, db = linear_backward(2 * (y - target) / B)
            _dx, _dstate, gradients = layer_backward(None, {"layers.0.h": dh})
            return gradients | {"W": dW, "b": db}

        return np.mean((y - target) ** 2), backward

    train(params, loss, 600, 1e-2)
    assert loss(500)[0] < 0.01
