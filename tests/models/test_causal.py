"""Causal Transformers: their cache, the window that slides, and what reading on may not do.

What they have in common with other models is in test_every_model.py and test_reading.py.
"""

import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_table import CAUSAL, C, V, each
from usual import originals_deep

from minillm import kernels_info, use_kernels
from minillm.decoding import Reader, causal
from minillm.models.gpt import GPT
from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised import quantise

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]
FAMILIES = {name: CAUSAL[name] for name in ("gpt", "llama", "gemma3")}
every_model = each(FAMILIES)


def new(entry, dtype=np.float64, **options):
    return replace(entry, config=replace(entry.config, dropout=0.0, **options)).new(dtype)


def texts(B, T, seed=0):
    return np.random.default_rng(seed).integers(0, V, (B, T))


@every_model
def test_fresh_predictions_are_nearly_uniform(entry):
    sizes = {"vocabulary": 65, "context": 32, "layers": 4, "heads": 4, "width": 64}
    model = entry.Model(type(entry.config)(**sizes), np.random.default_rng(0))
    ids, targets = np.random.default_rng(1).integers(0, 65, (2, 4, 32))
    loss, _ = model.loss((ids, targets))
    assert abs(float(loss) - np.log(65)) < 0.1


@each(CAUSAL)
@given(st.lists(st.integers(1, C - 1), unique=True).map(sorted), st.integers(1, 3), st.booleans())
def test_every_token_of_every_piece_has_its_logits(entry, cuts, B, steps):
    """By steps of a few tokens, and by whole layers with a cache."""
    model, ids = new(entry), texts(B, C)
    reader, (whole, _) = Reader(model), model.forward(ids)
    if not steps:
        reader.most_steps = 0
    np.testing.assert_allclose(in_pieces(reader, ids, cuts), whole, atol=1e-12 * abs(whole).max())


def in_pieces(reader, ids, cuts):
    """The logits of every id, read in pieces."""
    results, cache = [], reader.zero_state(len(ids))
    for begin, end in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
        logits, cache = reader.read_all(ids[:, begin:end], cache)
        results.append(logits)
    return np.concatenate(results, axis=1)


@pytest.mark.skipif(
    kernels_info()["available"] == ["numpy"], reason="the compiled kernels are not built"
)
@pytest.mark.parametrize("type", [None, "Q4_1", "Q8_0"])
@given(st.lists(st.integers(2, 30), min_size=2, max_size=6))
def test_parts_of_a_prompt_change_no_bit(type, parts):
    """So an answer does not depend on what was kept of other conversations."""
    model = Llama(LlamaConfig(9, 200, 2, 4, 2, 64, 96), np.random.default_rng(0))
    for name, array in model.params.items():
        if type and ".W_" in name:
            model.params[name] = quantise(array, type)
    reader, ids = Reader(model), np.random.default_rng(1).integers(0, 9, (1, sum(parts)))
    with use_kernels("cython"):
        whole, _ = reader.read(ids, reader.zero_state(1))
        state, at = reader.zero_state(1), 0
        for T in parts:
            logits, state = reader.read(ids[:, at : at + T], state)
            at += T
    np.testing.assert_array_equal(logits, whole)


def windowed(model, text):
    """The logits after a text, by the definition of the sliding window."""
    context = model.config.context
    while len(text) > context:
        text = text[context - context // 2 :]
    return model.forward(text[None])[0][0, -1]


@every_model
@given(st.integers(1, 40), st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(3, 9))
def test_past_the_context_the_window_slides(entry, prompt, pieces, context):
    model = new(entry, context=context)
    reader = Reader(model)
    text = texts(1, prompt + sum(pieces))
    state, at = reader.zero_state(1), 0
    for piece in [prompt, *pieces]:
        logits, state = reader.read(text[:, at : at + piece], state)
        at += piece
        np.testing.assert_allclose(logits[0], windowed(model, text[0, :at]), atol=1e-12)


@every_model
def test_rows_slide_each_at_its_own_time(entry):
    model, lengths = new(entry, context=6), np.array([6, 2, 5])
    reader, ids = Reader(model), texts(3, 6)
    logits, state = reader.read(ids, reader.zero_state(3), lengths)
    rows = [list(ids[b, :n]) for b, n in enumerate(lengths)]
    for step in range(8):
        new_ids = texts(3, 1, seed=step)
        logits, state = reader.read(new_ids, state)
        for b, row in enumerate(rows):
            row.append(new_ids[b, 0])
            np.testing.assert_allclose(logits[b], windowed(model, np.array(row)), atol=1e-12)


@pytest.mark.parametrize(
    ("B", "dtype", "options"),
    [
        (2, np.float64, {"heads": 4}),
        (2, np.float64, {"layers": 1}),
        (2, np.float64, {"layers": 3}),
        (2, np.float64, {"context": 20}),
        (1, np.float64, {}),
        (2, np.float32, {}),
    ],
)
def test_the_cache_of_another_model_or_batch_is_refused(B, dtype, options):
    ids = np.array([[1, 2, 3], [0, 1, 2]])
    reader, other = Reader(new(CAUSAL["gpt"])), Reader(new(CAUSAL["gpt"], dtype, **options))
    _, state = other.read(ids[:B], other.zero_state(B))
    for read, T in ((reader.read, 1), (reader.read_all, 2)):
        with pytest.raises(ValueError, match="state: expected a cache of so many rows"):
            read(ids[:, :T], state)


def test_more_tokens_at_once_than_the_context_are_refused():
    reader = Reader(new(CAUSAL["gpt"]))
    _, cache = reader.read_all(texts(1, C), reader.zero_state(1))
    for ids, state in ((texts(1, C + 1), reader.zero_state(1)), (texts(1, 1), cache)):
        with pytest.raises(ValueError, match="expected at most 12 tokens, found 13"):
            reader.read_all(ids, state)


@pytest.mark.parametrize("lengths", [[1.9], [0], [3], [[1]], [2**40], ["2"]])
def test_lengths_of_a_prompt_are_whole_numbers(lengths):
    reader = Reader(new(CAUSAL["gpt"]))
    with pytest.raises((TypeError, ValueError), match=r"^read: .*expected .*, found"):
        reader.read(np.array([[1, 2]]), reader.zero_state(1), np.array(lengths))


def test_what_a_kernel_indexes_with_is_not_the_callers(monkeypatch):
    """Another thread may write into the state after it has been checked."""
    reader, ids, checked = Reader(new(CAUSAL["gpt"])), np.array([[1, 2], [0, 1]]), []
    original = causal.block_step
    _, state = reader.read(ids, reader.zero_state(2))
    after = state.extended(ids[:, :1], np.ones(2, int))

    def spy(weights, x, cos, sin, past, start):
        for cache in (state, after):
            for array in (ids, cache.ids, cache.lengths, cache.start, cache.written):
                assert not np.shares_memory(array, start)
        checked.append(start)
        return original(weights, x, cos, sin, past, start)

    monkeypatch.setattr(causal, "block_step", spy)
    reader.read(ids[:, :1], state)
    reader.step(ids[:, :1], after)
    assert len(checked) == 2


def test_a_block_of_ones_own_is_read_by_its_page():
    """No kernel knows it, whatever the block that it inherits from says of itself."""

    class Doubled(GPT):
        def block(self, *inputs, **others):
            y, backward = super().block(*inputs, **others)
            return 2 * y, lambda dy: backward(2 * dy)

    gpt, ids = new(CAUSAL["gpt"]), texts(2, 6)
    model = Doubled(gpt.config, params=gpt.params)
    logits, _ = model.forward(ids)
    np.testing.assert_allclose(in_pieces(Reader(model), ids, [1, 2, 4]), logits, rtol=1e-9)


@every_model
def test_reading_keeps_nothing_for_a_backward(entry, monkeypatch):
    """What a block would keep is freed before the next one: a long prompt needs no more memory."""
    alive, most, block = [], [], entry.Model.block

    def watched(*inputs, **others):
        y, backward = block(*inputs, **others)
        alive.append(weakref.ref(backward))
        most.append(sum(ref() is not None for ref in alive))
        return y, backward

    monkeypatch.setattr(entry.Model, "block", watched)
    model = new(entry, layers=3, context=64)
    reader = Reader(model)
    reader.read(texts(1, 40), reader.zero_state(1))
    assert max(most) <= 2  # this one, and at most the one below
    alive.clear()
    most.clear()
    result = model.forward(texts(1, 40))
    assert most == [1, 2, 3]
    del result
