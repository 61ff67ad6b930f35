"""The second forward of causal Transformers equals the page, in one row and in packed ones."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_checks import same_gradients
from model_table import CAUSAL, C, V, decoder, each
from usual import originals_deep

from minillm.layers.gradients import PartlyTrained
from minillm.training.packed import Packed

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]
MODELS = CAUSAL | {
    "n-grams": decoder("qwen3", ngrams=4),
    "sinks": decoder("mistral", window=2, sinks=3),
}
FEW = {name: MODELS[name] for name in ("gpt", "llama, untied", "gemma3", "sinks", "n-grams")}
LENGTHS = st.lists(st.integers(1, C), min_size=1, max_size=5)

every_model = each(FEW)
with_and_without = pytest.mark.parametrize("recompute", [False, True])


def made(entry, dropout=0.0, dtype=np.float64, **options):
    return replace(entry, config=replace(entry.config, dropout=dropout, **options)).new(dtype)


def drawn(shape, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, V, shape), rng.integers(0, V, shape)


# --- a row is a text: the page ------------------------------------------------------


@each(MODELS)
@with_and_without
def test_hidden_and_loss_are_those_of_the_page(entry, recompute):
    """To the bit; with dropout, too: the same numbers are drawn in the same order."""
    model, (ids, targets) = made(entry, dropout=0.4), drawn((3, 7))
    some = Packed(model, recompute)
    y, backward = some.hidden(ids, rng := np.random.default_rng(2))
    expected, page_backward = model.hidden(ids, page_rng := np.random.default_rng(2))
    np.testing.assert_array_equal(y, expected)
    assert rng.random() == page_rng.random()
    dy = np.random.default_rng(3).standard_normal(y.shape)
    for _ in range(2):  # it can be called twice
        found, of_page = backward(dy), page_backward(dy)
        assert found.keys() == of_page.keys()
        for key, gradient in of_page.items():
            np.testing.assert_array_equal(found[key], gradient)
    loss, backward = some.loss((ids, targets), np.random.default_rng(2))
    expected, page_backward = model.loss((ids, targets), np.random.default_rng(2))
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    same_gradients(backward(), page_backward())


# --- a row is several texts ---------------------------------------------------------


@every_model
@with_and_without
@given(lengths=LENGTHS, seed=st.integers(0, 9))
@settings(max_examples=8)
def test_the_packed_loss_is_the_mean_over_the_targets_that_count(entry, recompute, lengths, seed):
    """Of the page's logits of each text, computed in full."""
    model, lengths = made(entry), np.array(lengths)
    inputs, targets = drawn((1, lengths.sum()), seed)
    mask = np.random.default_rng(seed).random(inputs.shape) < 0.5
    mask[0, -1] = True
    loss, backward = Packed(model, recompute).loss((inputs, targets), None, mask, lengths)
    n, total, expected = mask.sum(), {}, 0.0
    ends = np.cumsum(lengths)
    for first, last in zip(ends - lengths, ends, strict=True):
        logits, logits_backward = model.forward(inputs[:, first:last])
        p = np.exp(logits - logits.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        one_hot = np.eye(V)[targets[:, first:last]]
        counted = mask[:, first:last, None]
        expected -= (np.log(p) * one_hot * counted).sum() / n
        for key, gradient in logits_backward((p - one_hot) * counted / n).items():
            total[key] = total.get(key, 0) + gradient
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    same_gradients(backward(), total)


def test_a_mask_has_a_target_that_counts():
    with pytest.raises(ValueError, match="mask: expected a True"):
        Packed(made(FEW["gpt"])).loss(drawn((1, 4)), None, np.zeros((1, 4), bool))


@every_model
def test_no_text_sees_another(entry):
    """Not even a bit: another text of the row may be anything."""
    some, lengths = Packed(made(entry)), np.array([4, 5, 3])
    ids, others = drawn((1, 12))
    others = np.where(np.arange(12) // 4 == 0, ids, others)  # the first text stays
    y, changed = (some.hidden(row, None, lengths)[0] for row in (ids, others))
    np.testing.assert_array_equal(y[:, :4], changed[:, :4])
    assert (y[:, 4:] != changed[:, 4:]).any()


def test_a_text_longer_than_the_context_is_refused():
    some = Packed(made(FEW["gpt"]))
    for lengths in (None, np.array([C + 1])):
        with pytest.raises(ValueError, match=f"expected at most {C} tokens, found {C + 1}"):
            some.hidden(drawn((1, C + 1))[0], None, lengths)
    some.hidden(drawn((1, C + 1))[0], None, np.array([C, 1]))


# --- recomputing --------------------------------------------------------------------


@pytest.mark.parametrize("entry", [FEW["gpt"], FEW["gemma3"]])
def test_recomputing_keeps_the_input_of_each_block_only(entry):
    """Between the forward and the backward; a block needs some 16 times as much."""
    model, (ids, _) = made(entry, dtype=np.float32, layers=6, width=32, context=64), drawn((4, 64))
    held = []
    for recompute in (False, True):
        tracemalloc.start()
        y, backward = Packed(model, recompute).hidden(ids)
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        del y, backward
    assert held[1] < held[0] / 4


# --- a part is trained --------------------------------------------------------------


@with_and_without
@pytest.mark.parametrize(("trained", "blocks"), [("norm.gain", 0), ("blocks.1.norm_2.gain", 1)])
def test_no_block_below_runs_backwards_or_again(recompute, trained, blocks, monkeypatch):
    model, ran = made(FEW["gpt"]), []
    original = model.block

    def counted(layer, *arguments, **others):
        ran.append(f"blocks.{layer}")
        y, backward = original(layer, *arguments, **others)
        return y, lambda dy: ran.append(f"blocks.{layer} back") or backward(dy)

    monkeypatch.setattr(model, "block", counted)
    model.params = PartlyTrained(model.params, [trained])
    _, backward = Packed(model, recompute).loss(drawn((2, 7)))
    assert ran == ["blocks.0", "blocks.1"]
    ran.clear()
    backward()
    again = ["blocks.1"] if recompute else []
    assert ran == [*again, "blocks.1 back"][: 2 * blocks]
