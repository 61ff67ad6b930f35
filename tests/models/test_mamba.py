"""Mamba: its gradient, its equations, fresh steps, sizes, and a task that needs its selection."""

import numpy as np
import pytest
from model_checks import check_model
from usual import originals_deep

from minillm import ops
from minillm.models.mamba import Mamba, MambaConfig
from minillm.testing import check_projections
from minillm.training.optimisers import Adam, clip_global_norm

both_twins = pytest.mark.usefixtures("both_twins")
TINY = {"vocabulary": 5, "layers": 2, "width": 4, "inner": 6, "state": 3, "rank": 2}


def new(seed=0, **options):
    rng = np.random.default_rng(seed)
    model = Mamba(MambaConfig(**TINY | options), rng, dtype=np.float64)
    for array in model.params.values():
        array += 0.4 * rng.standard_normal(array.shape)
    return model


@originals_deep
@both_twins
@pytest.mark.parametrize(
    "options", [{}, {"tied": False, "convolution": 2, "eps": 0.1}, {"dropout": 0.3, "layers": 1}]
)
def test_the_gradient_of_every_parameter(options):
    ids = np.random.default_rng(1).integers(0, 5, (2, 7))
    check_model(new(**options), (ids[:, :-1], ids[:, 1:]))


@originals_deep
@both_twins
def test_the_gradient_of_the_second_of_two_windows():
    """The state before it is not zero, and is a constant."""
    model, ids = new(), np.random.default_rng(1).integers(0, 5, (2, 9))
    (_, state), _ = model.forward(ids[:, :4], model.zero_state(2))
    assert all(entry.any() for entry in state.values())

    def loss():
        (value, _), backward = model.window_loss(ids[:, 4:-1], ids[:, 5:], state)
        return value, backward

    check_projections(loss, model.params, rng=np.random.default_rng(2), miss=1e-3)


def test_the_equations():
    """A layer written out for one text, a number at a time."""
    model = new(layers=1, convolution=3, tied=False, eps=0.01)
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


def test_no_token_sees_a_later_one():
    model, rng = new(), np.random.default_rng(3)
    ids = rng.integers(0, 5, (2, 8))
    (logits, _), _ = model.forward(ids, model.zero_state(2))
    for t in range(8):
        changed = ids.copy()
        changed[:, t:] = (ids[:, t:] + 1) % 5
        (others, _), _ = model.forward(changed, model.zero_state(2))
        np.testing.assert_array_equal(others[:, :t], logits[:, :t])
        assert not np.allclose(others[:, t], logits[:, t])


def trained(model, batch, steps, learning_rate, asked):
    """The share of right answers after some steps, each at the last ``asked`` places of a text."""
    optimiser = Adam(model.params)
    for _ in range(steps):
        inputs, targets = batch(32)
        (logits, _), logits_backward = model.forward(inputs, model.zero_state(len(inputs)))
        _, loss_backward = ops.cross_entropy(logits[:, -asked:], targets[:, -asked:])
        dlogits = np.zeros_like(logits)  # what stands before is noise
        dlogits[:, -asked:] = loss_backward()
        gradients = logits_backward(dlogits)
        clip_global_norm(gradients, 1.0)
        optimiser.step(gradients, learning_rate)
    inputs, targets = batch(200)
    (logits, _), _ = model.forward(inputs, model.zero_state(200))
    return np.mean(logits[:, -asked:].argmax(-1) == targets[:, -asked:])


def test_one_symbol_among_noise_is_remembered():
    """Its place varies, so that the layer has to choose what it takes up: by what it reads."""
    rng, T = np.random.default_rng(2), 9
    model = Mamba(MambaConfig(8, layers=1, width=16, state=4), rng)

    def batch(B):
        text = rng.integers(3, 7, (B, T + 2))  # noise
        text[:, T + 1] = text[np.arange(B), rng.integers(0, T - 4, B)] = rng.integers(0, 3, B)
        text[:, T] = 7  # the question
        return text[:, :-1], text[:, 1:]

    assert trained(model, batch, 110, 2e-2, asked=1) > 0.95  # chance: 1/3


@pytest.mark.deep
def test_selective_copying():
    """Two of twelve tokens are symbols, between blanks; then they are written, in their order."""
    rng, T, K = np.random.default_rng(0), 12, 2
    model = Mamba(MambaConfig(5, layers=2, width=16, state=4), rng)

    def batch(B):
        text = np.zeros((B, T + 1 + K), int)
        for row in text:
            row[rng.choice(T, K, replace=False)] = rng.integers(1, 4, K)
            row[T] = 4  # now they are to be written
            row[T + 1 :] = row[:T][row[:T] > 0]
        return text[:, :-1], text[:, 1:]

    assert trained(model, batch, 1000, 5e-3, asked=K) > 0.97  # chance: 1/3


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


def test_sizes_that_follow_from_others():
    config = MambaConfig(9, width=40)
    assert (config.inner, config.rank, config.state, config.convolution) == (80, 3, 16, 4)
    assert MambaConfig(9, width=40, inner=7, rank=5).rank == 5


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 0}, "width: expected 1 or more, found 0"),
        ({"state": 0}, "state: expected 1 or more, found 0"),
        ({"convolution": 1}, "convolution: expected 2 or more, found 1"),
        ({"inner": 0}, "inner: expected 1 or more, found 0"),
        ({"rank": 0}, "rank: expected 1 or more, found 0"),
        ({"eps": 0.0}, "eps: expected a finite number above 0, found 0.0"),
        ({"dropout": 1.0}, "dropout: expected 0 or more and below 1, found 1.0"),
    ],
)
def test_sizes_that_cannot_be(sizes, message):
    with pytest.raises(ValueError, match=message):
        MambaConfig(9, **sizes)
