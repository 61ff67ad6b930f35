"""Mamba: its equations, and fresh steps."""

import numpy as np
import pytest
from model_table import mamba

from minillm.models.mamba import Mamba, MambaConfig

both_twins = pytest.mark.usefixtures("both_twins")


def test_the_equations():
    """A layer written out for one text, a number at a time."""
    model = mamba(layers=1, convolution=3, tied=False, eps=0.01).new()
    p, ids, (E, N) = model.params, np.array([3, 1, 4, 1, 0]), (6, 3)
    own = {name[9:]: w for name, w in p.items() if name.startswith("layers.0.")}

    def silu(x):
        return x / (1 + np.exp(-x))

    def rms(x, gain):
        return gain * x / np.sqrt((x**2).mean() + 0.01)

    h, seen, logits = np.zeros((E, N)), [np.zeros(E)] * 2, []
    for x in p["embedding.E"][ids]:
        uz = rms(x, own["norm.gain"]) @ own["input.W"]
        seen.append(uz[:E])
        u = np.zeros(E)
        for e in range(E):
            total = sum(own["convolution.W"][j, e] * seen[j - 3][e] for j in range(3))
            u[e] = silu(total + own["convolution.b"][e])
        r, b, c = np.split(u @ own["selection.W"], [2, 2 + N])
        delta = np.log(1 + np.exp(r @ own["step.W"] + own["step.b"]))
        y = np.zeros(E)
        for e in range(E):
            for n in range(N):
                kept = np.exp(-delta[e] * np.exp(own["A_log"][e, n])) * h[e, n]
                h[e, n] = kept + delta[e] * u[e] * b[n]
            y[e] = (h[e] @ c + own["skip"][e] * u[e]) * silu(uz[E + e])
        x = x + y @ own["output.W"]
        logits.append(rms(x, p["norm.gain"]) @ p["output.W"])
    (found, state), _ = model.forward(ids[None], model.zero_state(1))
    np.testing.assert_allclose(found[0], logits, rtol=1e-10)
    np.testing.assert_allclose(state["layers.0.h"][0], h, rtol=1e-10)
    np.testing.assert_allclose(state["layers.0.before"][0], seen[-2:], rtol=1e-10)


def test_a_fresh_model_steps_between_the_shortest_and_the_longest():
    config = MambaConfig(9, 2, 64, state=4, tied=False)
    p = Mamba(config, np.random.default_rng(0)).params
    delta = np.log1p(np.exp(p["layers.1.step.b"].astype(np.float64)))
    assert delta.min() > 0.99 * 1e-3
    assert delta.max() < 1.01 * 1e-1
    assert np.log10(delta).mean() == pytest.approx(-2, abs=0.2)
    np.testing.assert_allclose(np.exp(p["layers.1.A_log"]), np.tile([1, 2, 3, 4], (128, 1)))
    ids = np.random.default_rng(1).integers(0, 9, (2, 4, 20))
    assert Mamba(config, params=p).loss(ids)[0] == pytest.approx(np.log(9), abs=0.1)
