"""Recurrent stacks: gradients, lengths, steps, and the table of E W_x."""

import numpy as np
import pytest
from model_checks import check_model
from usual import originals_deep

from minillm import ops
from minillm.decoding.recurrent import stack_step
from minillm.layers import recurrent
from minillm.layers.fresh import draw_all
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.ops.padding import zero_padding
from minillm.ops.recurrence import (
    Cell,
    input_term,
    input_term_backward,
    sequence,
    state_term_backward,
    without_ids,
)
from minillm.testing import check_projections

CELLS = tuple(recurrent.CELLS)


def random_state(params, cell, layers, B, rng):
    zero = recurrent.zero_state(params, "p", cell, layers, B)
    return {name: rng.standard_normal(entry.shape) for name, entry in zero.items()}


def stack_params(cell, layers, I, H, rng, bidirectional=False):
    M, params = 2 * H if bidirectional else H, {}
    for number in range(layers):
        inputs = M if number else I
        fresh = recurrent.new_layer(f"p.{number}", cell, inputs, H, bidirectional)
        params |= draw_all(fresh, rng, np.float64)
    return params


@originals_deep
@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize(
    ("embedding", "V", "options"),
    [
        ("E", 20, {}),
        ("E", 3, {"dropout": 0.3}),  # fewer rows than steps: the table
        ("E", 3, {"lengths": np.array([4, 3])}),
        ("both ways", 3, {"lengths": np.array([4, 3]), "dropout": 0.3}),
        (None, 3, {"dropout": 0.3}),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_a_stack_over_ids(cell, embedding, V, options):
    """Along random directions; the initial states are not zero."""
    rng = np.random.default_rng(0)
    bidirectional = embedding == "both ways"
    params = {embedding: rng.standard_normal((V, 2))} if embedding else {}
    params |= stack_params(cell, 2, 2 if embedding else V, 2, rng, bidirectional)
    state = random_state(params, cell, 2, 2, rng)
    ids = rng.integers(0, V, (2, 4))

    def outputs_of():
        own_rng = np.random.default_rng(1)
        return recurrent.stack_over_ids(
            params, "p", embedding, ids, state, cell, 2, rng=own_rng, **options
        )

    (hs, last), _ = outputs_of()
    dhs = rng.standard_normal(hs.shape)
    dlast = {name: rng.standard_normal(entry.shape) for name, entry in last.items()}

    def loss():
        (hs, last), backward = outputs_of()

        def gradients():
            dstate, own = backward(dhs, dlast)
            assert own.keys() == params.keys()
            return own | dstate

        return (dhs * hs).sum() + sum((dlast[n] * last[n]).sum() for n in last), gradients

    check_projections(loss, params | state, rng=rng, miss=1e-3)


def test_no_table_has_more_rows_than_there_are_steps(monkeypatch):
    def linear(x, W, b=None):
        raise AssertionError(f"a table of {len(x)} rows")

    monkeypatch.setattr(ops, "linear", linear)
    rng = np.random.default_rng(0)
    params = {"E": rng.standard_normal((12, 2))} | stack_params("gru", 1, 2, 2, rng)
    for B, T in ((1, 1), (3, 4)):
        state = random_state(params, "gru", 1, B, rng)
        recurrent.stack_over_ids(params, "p", "E", np.zeros((B, T), int), state, "gru", 1)


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_padding_and_the_other_rows_change_nothing(cell, bidirectional):
    rng = np.random.default_rng(0)
    params = stack_params(cell, 2, 3, 4, rng, bidirectional)
    state = random_state(params, cell, 2, 3, rng)
    x, lengths = rng.standard_normal((3, 6, 3)), np.array([6, 2, 4])
    (hs, last), _ = recurrent.stack(params, "p", x, state, cell, 2, lengths)
    for b, T in enumerate(lengths):
        row = slice(b, b + 1)
        own_state = {name: entry[row] for name, entry in state.items()}
        (alone, alone_last), _ = recurrent.stack(params, "p", x[row, :T], own_state, cell, 2)
        np.testing.assert_allclose(alone[0], hs[b, :T], rtol=1e-10, atol=1e-12)
        assert not hs[b, T:].any()
        for name, entry in alone_last.items():
            np.testing.assert_allclose(entry[0], last[name][b], rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_whole_sequence_for_hypotheses_too(cell):
    rng = np.random.default_rng(0)
    params = stack_params(cell, 2, 3, 4, rng)
    x, state = rng.standard_normal((6, 5, 3)), random_state(params, cell, 2, 6, rng)
    (hs, last), _ = recurrent.stack(params, "p", x, state, cell, 2)
    for shape in ((6,), (2, 3)):  # B, or B and K
        now = {name: entry.reshape(*shape, 4) for name, entry in state.items()}
        for t in range(5):
            h, now = stack_step(params, "p", x[:, t].reshape(*shape, 3), now, cell, 2)
            np.testing.assert_allclose(h, hs[:, t].reshape(*shape, 4), rtol=1e-10, atol=1e-12)
        assert now.keys() == last.keys()
        for name, entry in last.items():
            np.testing.assert_allclose(now[name], entry.reshape(*shape, 4), rtol=1e-10)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_no_gradient_means_zero_and_other_entries_are_ignored(bidirectional):
    rng = np.random.default_rng(0)
    params = stack_params("lstm", 2, 3, 4, rng, bidirectional)
    state = random_state(params, "lstm", 2, 2, rng)
    (hs, last), backward = recurrent.stack(
        params,
        "p",
        rng.standard_normal((2, 3, 3)),
        state | {"memory.keys": rng.standard_normal(7)},
        "lstm",
        2,
    )
    assert last.keys() == state.keys()
    dlast = {"p.1.h": rng.standard_normal(last["p.1.h"].shape)}
    dx, _, gradients = backward(None, dlast | {"other": rng.standard_normal(3)})
    zeros = {name: np.zeros_like(entry) for name, entry in last.items()}
    other_dx, _, others = backward(np.zeros_like(hs), zeros | dlast)
    np.testing.assert_array_equal(dx, other_dx)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name])


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "W_h" in recurrent.CELLS[cell].weights])
def test_fresh_recurrent_weights_preserve_norms(cell):
    rng = np.random.default_rng(0)
    params = draw_all(recurrent.new_layer("p", cell, 5, 8), rng)
    assert all(p.dtype == np.float32 for p in params.values())
    gates = np.split(params["p.W_h"], recurrent.CELLS[cell].gates, axis=1)
    for W in gates:
        np.testing.assert_allclose(W @ W.T, np.eye(8), atol=1e-6)
    if cell == "lstm":
        assert params["p.b"].tolist() == [0] * 8 + [1] * 8 + [0] * 16


# --- a cell that only this file knows ---------------------------------------------------------


def leaky(x, h0, W_x, W_h, b, lengths=None):
    """h_t = h_{t-1} / 2 + tanh(x_t W_x + h_{t-1} W_h + b)."""
    T = x.shape[1]
    lengths = np.full(len(x), T) if lengths is None else lengths
    a_x, h, hs = input_term(x, W_x, b, lengths), h0, []
    for t in range(T):
        h = np.where((t < lengths)[:, None], h / 2 + np.tanh(a_x[:, t] + h @ W_h), h)
        hs.append(h)
    hs = sequence(hs, lengths)

    def backward(dhs, dh_last=None):
        dhs = zero_padding(np.zeros_like(hs) if dhs is None else dhs, lengths)
        dh, da = np.zeros_like(h0) if dh_last is None else dh_last, np.zeros_like(hs)
        for t in reversed(range(T)):
            running, before = (t < lengths)[:, None], hs[:, t - 1] if t else h0
            dh_t = dh + dhs[:, t]
            # h = h_prev / 2 + tanh(a)
            da[:, t] = np.where(running, dh_t * (1 - (hs[:, t] - before / 2) ** 2), 0)
            dh = np.where(running, dh_t / 2 + da[:, t] @ W_h.T, dh)
        dx, dW_x, db = input_term_backward(da, x, W_x, lengths)
        return without_ids(dx, dh, dW_x, state_term_backward(da, h0, hs, lengths), db)

    return (hs, h), backward


def leaky_step(x, h, W_x, W_h, b):
    """One step of ``leaky``."""
    return h / 2 + np.tanh(input_term(x, W_x, b) + h @ W_h)


def test_a_new_cell_is_one_page(monkeypatch):
    """Layers, stacks, steps and models accept it by its name."""
    entry = Cell(leaky, leaky_step, state=("h",), weights=("W_x", "W_h", "b"), gates=1)
    monkeypatch.setitem(recurrent.CELLS, "leaky", entry)
    for embedding in ("E", "both ways"):
        options = {"lengths": np.array([4, 3]), "dropout": 0.3}
        test_gradients_of_a_stack_over_ids("leaky", embedding, 3, options)
    test_padding_and_the_other_rows_change_nothing("leaky", bidirectional=True)
    test_steps_equal_the_whole_sequence_for_hypotheses_too("leaky")
    config = LanguageModelConfig(5, 3, 4, 2, cell="leaky")
    model = LanguageModel(config, np.random.default_rng(0), dtype=np.float64)
    check_model(model, tuple(np.random.default_rng(1).integers(0, 5, (2, 3, 4))))
