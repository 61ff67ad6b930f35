"""Attribution: exact where a model is linear, ablation by its definition, and a trained head."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from minillm.decoding import next_probabilities
from minillm.layers.heads import self_attention
from minillm.look.attribution import (
    Reading,
    contributions,
    head_effects,
    induction_scores,
    token_effects,
)
from minillm.look.measurements import read_gpt
from minillm.models.gpt import GPT, GPTConfig

V, SIZES = 11, {"context": 12, "layers": 2, "heads": 2, "width": 8}
IDS = np.random.default_rng(3).integers(0, V, 7)


class Linear(GPT):
    """Without norms and feed-forward layers; the weights of its attention are equal."""

    @staticmethod
    def new_parameters(config):
        declared = GPT.new_parameters(config)
        return {name: own for name, own in declared.items() if "norm" not in name}

    def block(self, layer, x, positions, attend, rng=None):
        prefix, heads = f"blocks.{layer}.attention", self.config.heads
        a, attention_backward = self_attention(self.params, prefix, x, heads, attend)

        def backward(dy):
            dx, gradients = attention_backward(dy)
            return dy + dx, gradients

        return x + a, backward


def new(Model=GPT):
    model = Model(GPTConfig(V, **SIZES), np.random.default_rng(0), dtype=np.float64)
    for name, array in model.params.items():
        if name.endswith(("E", "W_qkv", "W_o")):
            array *= 20
        if Model is Linear and name.endswith("W_qkv"):
            array[:, : array.shape[0]] = 0  # all queries are zero
    return model


def test_contributions_are_exact_where_the_score_is_linear():
    model, rng = new(Linear), np.random.default_rng(1)
    reading = Reading(model, IDS)
    dy = rng.standard_normal(reading.y.shape)
    by_head, dx = contributions(reading, dy)
    score = (dy * reading.y).sum()
    assert (dx * reading.x).sum() == pytest.approx(score)
    assert by_head[-1].sum() + (dy * (reading.y - last_attention(model, reading))).sum() == (
        pytest.approx(score)
    )
    other = Reading(model, IDS[::-1])
    for at in np.ndindex(by_head.shape):
        without = Reading(model, IDS, {at: 0.0})
        assert by_head[at] == pytest.approx(score - (dy * without.y).sum())
        patched = Reading(model, IDS, {at: other.heads[at]})
        _, dheads = reading.backward(dy)
        change = (dheads[at] * (reading.heads[at] - other.heads[at])).sum()
        assert change == pytest.approx(score - (dy * patched.y).sum())


def last_attention(model, reading):
    """What the last layer adds to the stream: its heads side by side, times W_o."""
    L, N, T, w = reading.heads.shape
    joined = reading.heads[-1].transpose(1, 0, 2).reshape(T, N * w)
    return joined @ model.params[f"blocks.{L - 1}.attention.W_o"]


def test_the_effect_of_a_head_is_that_of_zeros_in_its_rows_of_W_o():
    model, w = new(), SIZES["width"] // SIZES["heads"]
    found = head_effects(model, IDS)

    def log_p():
        logits = model.forward(IDS[None, :-1])[0][0]
        return np.log(next_probabilities(logits)[np.arange(len(IDS) - 1), IDS[1:]])

    whole = log_p()
    for layer, head in np.ndindex(found.shape[1:]):
        W_o = model.params[f"blocks.{layer}.attention.W_o"]
        rows = W_o[head * w : (head + 1) * w]
        saved = rows.copy()
        rows[:] = 0
        np.testing.assert_allclose(found[:, layer, head], whole - log_p(), atol=1e-12)
        rows[:] = saved
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(head_effects(model, IDS, IDS), 0, atol=1e-12)
    assert np.abs(head_effects(model, IDS, IDS[::-1]) - found).max() > 0.01


def test_a_look_has_the_effects_on_log_p_of_each_token():
    model = new()
    measured = read_gpt(model, IDS)
    by_token = measured["by_token"]
    assert by_token.shape == (7, 7)
    np.testing.assert_allclose(by_token[np.triu_indices(7)], 0, atol=1e-12)  # earlier tokens only
    np.testing.assert_array_equal(by_token[1:], token_effects(model, IDS))
    # a token whose vector is zero anyway has no effect
    E, P = model.params["embedding.E"], model.params["positions.E"]
    E[IDS[2]] = -P[2]
    assert np.abs(read_gpt(model, IDS)["by_token"][:, 2]).max() == 0 < np.abs(by_token[3:, 2]).max()
    model = new()
    assert (measured["by_head"][0] == 0).all()  # nothing predicts the first token
    # a small step away from the heads' results: the linear estimate is exact in the limit
    reading, step = Reading(model, IDS), 1e-4
    for at in np.ndindex(SIZES["layers"], SIZES["heads"]):
        y = Reading(model, IDS, {at: (1 - step) * reading.heads[at]}).y[:-1]
        log_p = [np.log(next_probabilities(model.predict(y)[0])) for y in (reading.y[:-1], y)]
        change = (log_p[0] - log_p[1])[np.arange(6), IDS[1:]] / step
        np.testing.assert_allclose(measured["by_head"][1:, *at], change, rtol=1e-2, atol=1e-5)


def test_the_induction_score_is_the_weight_on_the_token_after_the_last_occurrence():
    ids, weights = np.array([3, 5, 3, 4, 3]), np.zeros((1, 2, 5, 5))
    weights[0, 0, 2, 1] = 1.0  # 3, after which 5 came
    weights[0, 0, 4, 3] = 0.5  # 3, after which 4 came last
    weights[0, 1, 4, 1] = 1.0
    np.testing.assert_allclose(induction_scores(weights, ids), [[0.75, 0]])
    assert np.isnan(induction_scores(weights, np.arange(5))).all()


@pytest.mark.deep
def test_ablation_and_gradient_find_the_induction_head_of_a_trained_model(monkeypatch, tmp_path):
    pictures = Path(__file__).parents[2] / "docs/pictures"
    monkeypatch.syspath_prepend(str(pictures))
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path)])
    found = runpy.run_path(str(pictures / "induction-head.py"))
    scores = induction_scores(found["weights"], found["ids"])
    assert scores.max() > max(0.4, 3 * np.sort(scores.ravel())[-2])
    before = np.diagonal(found["weights"], -1, axis1=2, axis2=3).mean(axis=-1)
    for measured in found["means"].values():  # it, and the head that tells it what came before
        assert {*measured.ravel().argsort()[-2:]} == {scores.argmax(), before.argmax()}
    assert (tmp_path / "induction-head.svg").exists()
