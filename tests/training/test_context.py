"""Transformers in training: validation by overlapping windows."""

import tracemalloc

import numpy as np
import pytest
from model_checks import loss_in_context
from model_table import Entry, V

from minillm import use_kernels
from minillm.data import RandomWindows
from minillm.layers import heads
from minillm.layers.norms import norm
from minillm.look.measurements import attention_weights
from minillm.models.gpt import GPT, GPTConfig
from minillm.training import language_model
from minillm.training.language_model import WindowTask, token_losses

C = 10


def make_model():
    return Entry(GPT, GPTConfig(V, C, layers=2, heads=2, width=8), None).new()


def make_task():
    ids = np.random.default_rng(9).integers(0, V, 400)
    return WindowTask(make_model(), RandomWindows(ids[:300], 3, C), ids[300:], 4, 60)


@pytest.mark.parametrize("length", [2, 9, 11, 12, 30, 61])
@pytest.mark.parametrize("batch", [1, 4])
def test_evaluation_sees_half_a_context_or_more(length, batch):
    model, ids = make_model(), np.random.default_rng(2).integers(0, V, length)
    losses = token_losses(model, ids, batch)
    assert len(losses) == length - 1
    assert losses.mean() == pytest.approx(loss_in_context(model, ids), rel=1e-10)


def test_few_windows_at_a_time_where_logits_are_many(monkeypatch):
    model, ids = make_model(), np.random.default_rng(2).integers(0, V, 90)
    expected, embed, predict = token_losses(model, ids, 100), model.embed, model.predict
    rows, logits = [], []
    model.embed = lambda x, *given: rows.append(len(x)) or embed(x, *given)
    model.predict = lambda y: logits.append(len(y)) or predict(y)
    monkeypatch.setattr(language_model, "LOGITS_AT_ONCE", 2 * C * V + 1)
    assert token_losses(model, ids, 100) == pytest.approx(expected, rel=1e-12)
    assert max(rows) == 2
    logits.clear()
    monkeypatch.setattr(language_model, "LOGITS_AT_ONCE", 3 * V)  # less than a window
    assert token_losses(model, ids, 100) == pytest.approx(expected, rel=1e-12)
    assert (max(logits), sum(logits)) == (3, 89)


def test_validation_reads_stretches_of_all_that_was_held_out():
    text = np.arange(1000)
    spread = language_model.stretches(text, 60)
    assert len(spread) == 60
    assert spread[0] == 0
    assert spread[-1] == 999
    assert (np.diff(spread) == 1).sum() == 50  # ten stretches, whose places are far apart
    assert language_model.stretches(text[:50], 60).tolist() == text[:50].tolist()


def test_validation_is_always_of_the_same_tokens():
    task = make_task()
    losses = token_losses(task.model, task.validation_ids, 4)
    assert len(losses) == 60
    assert task.validation_loss() == losses.mean() == task.validation_loss()


@pytest.mark.parametrize("position", [-1, 1.0, True, "1", 2**63])
def test_a_damaged_position_is_told(position):
    with pytest.raises(ValueError, match="position: expected a number from 0 up"):
        make_task().restore({}, {"position": position})


def test_attention_weights_are_those_that_the_model_uses():
    model = make_model()
    ids, p = np.random.default_rng(3).integers(0, V, (2, C)), model.params
    x = p["embedding.E"][ids] + p["positions.E"]
    of_all = attention_weights(model, ids)
    assert of_all.shape == (2, 2, 2, C, C)
    for layer, weights in enumerate(of_all):
        prefix = f"blocks.{layer}.attention"
        assert not np.triu(weights, 1).any()
        np.testing.assert_allclose(weights.sum(axis=-1), 1)
        h, _ = norm(p, f"blocks.{layer}.norm_1", x)
        v = np.split(h @ p[f"{prefix}.W_qkv"] + p[f"{prefix}.b_qkv"], 3, axis=-1)[2]
        mixed = heads.join_heads(weights @ heads.split_heads(v, 2))
        expected, _ = heads.self_attention(p, prefix, h, 2, heads.causal)
        np.testing.assert_allclose(mixed @ p[f"{prefix}.W_o"] + p[f"{prefix}.b_o"], expected)
        x, _ = model.block(layer, x, None, heads.causal)


def test_an_evaluation_keeps_no_block():
    """The memory of a model of many blocks is that of a few: nothing waits for a backward."""
    peaks = []
    for layers in (2, 8):
        config = GPTConfig(vocabulary=5, context=64, layers=layers, heads=2, width=32)
        model, ids = GPT(config, np.random.default_rng(0)), np.arange(65) % 5
        with use_kernels("numpy"):
            token_losses(model, ids, 1)  # so that nothing is kept for the first time
            tracemalloc.start()
            token_losses(model, ids, 1)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
