"""GPT and Llama: gradient, causality, the cache, the sliding window, and tasks for attention."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_checks import check_model

from minillm import kernels_info, use_kernels
from minillm.models import gpt_step
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.quantised import quantise
from minillm.training import AdamW

pytestmark = pytest.mark.usefixtures("both_twins")
V, C = 7, 12


UNUSUAL = {  # of the sizes of a Llama
    "key_heads": 1,
    "feed_forward": 10,
    "rotary_base": 50.0,
    "rope_scaling": (4.0, 1.0, 4.0, 9.0),
    "epsilon": 1e-3,
}
FAMILIES = {"gpt": (GPT, GPTConfig, {}), "llama": (Llama, LlamaConfig, UNUSUAL)}
every_model = pytest.mark.parametrize("family", FAMILIES)


def new(family, seed=0, dtype=np.float64, **options):
    Model, Config, own = FAMILIES[family]
    config = Config(
        **{"vocabulary": V, "context": C, "layers": 2, "heads": 2, "width": 8} | own | options
    )
    model = Model(config, np.random.default_rng(seed), dtype=dtype)
    rng = np.random.default_rng(seed + 1)
    for array in model.params.values():  # no bias is zero, no gain one, no branch negligible
        array += (0.3 * rng.standard_normal(array.shape)).astype(dtype)
    return model


def texts(B, T, seed=0):
    return np.random.default_rng(seed).integers(0, V, (B, T))


def in_pieces(model, ids, cuts, cache=None):
    """The logits of every id, read in pieces."""
    results = []
    for begin, end in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
        (logits, cache), _ = model.forward(ids[:, begin:end], cache)
        results.append(logits)
    return np.concatenate(results, axis=1), cache


@every_model
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient(family, dropout):
    check_model(new(family, dropout=dropout), (texts(3, 5), texts(3, 5, seed=1)))


@every_model
def test_the_gradient_of_masked_places_is_that_of_the_others(family):
    model, ids = new(family), texts(2, 6)
    mask = np.ones(ids.shape, bool)
    mask[:, 4:] = False
    (loss, _), backward = model.window_loss(ids, ids, {}, mask=mask)
    (short_loss, _), short_backward = model.window_loss(ids[:, :4], ids[:, :4], {})
    assert loss == pytest.approx(short_loss, rel=1e-12)
    short = short_backward()
    for name, g in backward().items():
        np.testing.assert_allclose(g, short[name], atol=1e-12)


@every_model
def test_later_tokens_change_nothing_before(family):
    model, ids = new(family), texts(2, 9)
    other = ids.copy()
    other[:, 5:] = (other[:, 5:] + 1) % V
    before, after = (model.forward(x)[0][0][:, :5] for x in (ids, other))
    np.testing.assert_array_equal(before, after)


@every_model
@given(st.lists(st.integers(1, C - 1), unique=True).map(sorted), st.integers(1, 3))
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_any_split_gives_the_same_logits(family, dtype, tolerance, cuts, B):
    model, ids = new(family, dtype=dtype), texts(B, C)
    (whole, _), _ = model.forward(ids)
    split, _ = in_pieces(model, ids, cuts)
    np.testing.assert_allclose(split, whole, atol=tolerance * np.abs(whole).max())


@pytest.mark.skipif(
    kernels_info()["available"] == ["numpy"], reason="the compiled kernels are not built"
)
@pytest.mark.parametrize("bits", [None, 4, 8])
@given(st.lists(st.integers(2, 30), min_size=2, max_size=6))
@settings(max_examples=15)
def test_parts_of_a_prompt_change_no_bit(bits, parts):
    """So an answer does not depend on what was kept of other conversations."""
    model = Llama(LlamaConfig(9, 200, 2, 4, 2, 64, 96), np.random.default_rng(0))
    for name, array in model.params.items():
        if bits and ".W_" in name:
            model.params[name] = quantise(array, bits)
    ids = np.random.default_rng(1).integers(0, 9, (1, sum(parts)))
    with use_kernels("cython"):
        whole, _ = model.read(ids, model.zero_state(1))
        state, at = model.zero_state(1), 0
        for T in parts:
            logits, state = model.read(ids[:, at : at + T], state)
            at += T
    np.testing.assert_array_equal(logits, whole)


@every_model
def test_the_backward_with_a_cache_takes_the_past_as_given(family):
    model, ids = new(family), texts(2, 8)
    (_, cache), _ = model.forward(ids[:, :5])
    (logits, _), backward = model.forward(ids[:, 5:], cache)
    rng = np.random.default_rng(3)
    dlogits = rng.standard_normal(logits.shape)
    direction = {name: rng.standard_normal(p.shape) for name, p in model.params.items()}
    gradients = backward(dlogits)
    analytic = sum((gradients[name] * d).sum() for name, d in direction.items())
    values = []
    for step in (1e-6, -1e-6):
        params = {name: p + step * direction[name] for name, p in model.params.items()}
        moved = type(model)(model.config, params=params)
        (moved_logits, _), _ = moved.forward(ids[:, 5:], cache)
        values.append((moved_logits * dlogits).sum())
    assert analytic == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


@every_model
def test_a_cache_may_be_continued_twice(family):
    model, ids, other = new(family), texts(2, 9), texts(2, 4, seed=5)
    (_, cache), _ = model.forward(ids[:, :5])
    (first, one), _ = model.forward(ids[:, 5:7], cache)
    (second, _), _ = model.forward(other, cache)  # from the same place
    (third, _), _ = model.forward(ids[:, 7:], one)
    (whole, _), _ = model.forward(ids)
    np.testing.assert_allclose(np.concatenate([first, third], 1), whole[:, 5:], atol=1e-12)
    (branch, _), _ = model.forward(np.concatenate([ids[:, :5], other], 1))
    np.testing.assert_allclose(second, branch[:, 5:], atol=1e-12)


@every_model
@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(0, 4))
def test_a_batch_of_unequal_prompts_equals_its_rows(family, lengths, steps):
    model = new(family)
    lengths = np.array(lengths)
    ids = texts(len(lengths), int(lengths.max()))
    logits, cache = model.read(ids, model.zero_state(len(ids)), lengths)
    rows = [model.read(ids[b : b + 1, :n], model.zero_state(1)) for b, n in enumerate(lengths)]
    for step in range(steps + 1):
        expected = np.concatenate([row for row, _ in rows])
        np.testing.assert_allclose(logits, expected, atol=1e-12)
        new_ids = texts(len(ids), 1, seed=step)
        logits, cache = model.read(new_ids, cache)
        rows = [model.read(new_ids[b : b + 1], state) for b, (_, state) in enumerate(rows)]


def windowed(model, text):
    """The logits after a text, by the definition of the sliding window."""
    context = model.config.context
    while len(text) > context:
        text = text[context - context // 2 :]
    return model.forward(text[None])[0][0][0, -1]


@every_model
@given(st.integers(1, 40), st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(3, 9))
def test_past_the_context_the_window_slides(family, prompt, pieces, context):
    model = new(family, context=context)
    text = texts(1, prompt + sum(pieces))
    logits, state = model.read(text[:, :prompt], model.zero_state(1))
    at = prompt
    np.testing.assert_allclose(logits[0], windowed(model, text[0, :at]), atol=1e-12)
    for piece in pieces:
        logits, state = model.read(text[:, at : at + piece], state)
        at += piece
        np.testing.assert_allclose(logits[0], windowed(model, text[0, :at]), atol=1e-12)


@every_model
def test_rows_slide_each_at_its_own_time(family):
    model, lengths = new(family, context=6), np.array([6, 2, 5])
    ids = texts(3, 6)
    logits, state = model.read(ids, model.zero_state(3), lengths)
    rows = [list(ids[b, :n]) for b, n in enumerate(lengths)]
    for step in range(8):
        new_ids = texts(3, 1, seed=step)
        logits, state = model.read(new_ids, state)
        for b, row in enumerate(rows):
            row.append(new_ids[b, 0])
            np.testing.assert_allclose(logits[b], windowed(model, np.array(row)), atol=1e-12)


@every_model
def test_forward_beyond_the_context_is_refused(family):
    model = new(family)
    with pytest.raises(ValueError, match="expected at most 12 tokens, found 13"):
        model.forward(texts(1, C + 1))
    (_, cache), _ = model.forward(texts(1, C))
    with pytest.raises(ValueError, match="at most 12 tokens, found 13"):
        model.forward(texts(1, 1), cache)


@every_model
def test_fresh_predictions_are_nearly_uniform(family):
    Model, Config, _ = FAMILIES[family]
    config = Config(vocabulary=65, context=32, layers=4, heads=4, width=64)
    model = Model(config, np.random.default_rng(0))
    ids, targets = np.random.default_rng(1).integers(0, 65, (2, 4, 32))
    loss, _ = model.loss((ids, targets))
    assert abs(float(loss) - np.log(65)) < 0.1


@every_model
def test_induction_what_followed_before_follows_again(family):
    """The second half of a random text repeats the first: only attention can predict it."""
    rng = np.random.default_rng(0)
    Model, Config, _ = FAMILIES[family]
    model = Model(Config(vocabulary=12, context=12, layers=2, heads=2, width=32), rng)
    optimiser = AdamW(model.params, weight_decay=0.0)

    def batch(B):
        half = rng.permuted(np.tile(np.arange(12), (B, 1)), axis=1)[:, :6]
        text = np.concatenate([half, half], axis=1)
        mask = np.zeros((B, 11), bool)
        mask[:, 6:] = True  # from the second token of the repetition on
        return text[:, :-1], text[:, 1:], mask

    for step in range(150):
        inputs, targets, mask = batch(32)
        _, backward = model.window_loss(inputs, targets, {}, mask=mask)
        optimiser.step(backward(), 1e-2 * min(1, (step + 1) / 20))
    inputs, targets, mask = batch(64)
    (loss, _), _ = model.window_loss(inputs, targets, {}, mask=mask)
    assert loss < 0.1  # log 12 is 2.5


@every_model
@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.parametrize("options", [{"heads": 4}, {"layers": 1}, {"layers": 3}, {"context": 20}])
def test_the_cache_of_another_model_of_equal_width_is_refused(family, options, T):
    ids = np.array([[1, 2, 3], [0, 1, 2]])
    model, other = new(family), new(family, **options)
    _, state = other.read(ids, other.zero_state(2))
    with pytest.raises(ValueError, match=r"state: expected a cache with ids \(2, "):
        model.read(ids[:, :T], state)
    with pytest.raises(ValueError, match=r"state: expected a cache with ids \(2, "):
        model.forward(ids[:, :T], state)


@every_model
def test_a_cache_of_other_rows_is_refused(family):
    model, ids = new(family), np.array([[1, 2, 3], [0, 1, 2]])
    _, state = model.read(ids[:1], model.zero_state(1))
    with pytest.raises(ValueError, match=r"state: expected a cache with ids \(2, "):
        model.read(ids[:, :1], state)


def test_what_a_kernel_indexes_with_is_not_the_callers(monkeypatch):
    """Another thread may write into the state after it has been checked."""
    model, ids, original = new("gpt"), np.array([[1, 2], [0, 1]]), gpt_step._decoder_step
    _, state = model.read(ids, model.zero_state(2))

    def spy(weights, x, past, rows, counts, *others):
        shared = [a for a in (ids, *state.values()) if np.shares_memory(a, counts)]
        assert not shared
        return original(weights, x, past, rows, counts, *others)

    monkeypatch.setattr(gpt_step, "_decoder_step", spy)
    model.read(ids[:, :1], state)
    model.step(ids[:, :1], state)


@every_model
def test_reading_keeps_nothing_for_a_backward(family):
    """What a block would keep is freed before the next one: a long prompt needs no more memory."""
    model, alive = new(family, layers=3, context=64), []
    block = model.block

    def watched(layer, x, *others, **options):
        y, backward = block(layer, x, *others, **options)
        alive.append(weakref.ref(backward))
        assert sum(ref() is not None for ref in alive) <= 2  # this one, and the one below
        return y, backward

    model.block = watched
    model.read(texts(1, 40), model.zero_state(1))
    assert len(alive) == 3
    with pytest.raises(AssertionError):
        model.forward(texts(1, 40))
