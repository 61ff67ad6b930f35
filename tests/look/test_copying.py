"""A look inside a model that copies: its predictions, and the attention that copies.

What all kinds of runs have in common is in tests/runs/test_look.py.
"""

import numpy as np
import pytest

from minillm.look.measurements import read_pair
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig

V, S, T = 4, 5, 3
SOURCE, TARGET = (
    np.array([1, V + 1, 3, 1, V + 2]),
    np.array([V + 2, 1, V]),
)  # more places than words


def test_predictions_are_those_of_the_mixture():
    config = PointerGeneratorConfig(V, embedding=4, hidden=4, layers=2)
    model = PointerGenerator(config, np.random.default_rng(0), dtype=np.float64)
    model.params["attention.W"] *= 4
    state, _ = model.encode(SOURCE[None], np.array([S]))
    (a, weights), _ = model.decode(np.array([[V, *TARGET[:-1]]]), state)
    (logits, gates), _ = model.output(a)
    g, p = 1 / (1 + np.exp(-gates[0])), np.exp(logits[0])
    p /= p.sum(axis=-1, keepdims=True)
    P = np.zeros((T, V + 3))
    P[:, : V + 1] = g[:, None] * p
    for t in range(T):
        for j in range(S):
            P[t, SOURCE[j]] += (1 - g[t]) * weights[0, t, j]
    log_P, (attention,) = read_pair(model, SOURCE, TARGET)
    np.testing.assert_allclose(np.exp(log_P), P, atol=1e-14)
    np.testing.assert_allclose(attention.weights[0, 0], weights[0], atol=1e-14)
    assert attention.weights.shape == (1, 1, T, S)
    loss, _ = model.loss((SOURCE[None], np.array([S]), TARGET[None], np.array([T])))
    assert -log_P[np.arange(T), TARGET].mean() == pytest.approx(loss)
