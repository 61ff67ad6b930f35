"""GPT and Llama: gradients, causality, reading on with a cache, the sliding window, a task for
attention."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_checks import check_model
from usual import originals_deep, usual_kernels

from minillm import kernels_info, ops, use_kernels
from minillm.decoding import Reader, causal
from minillm.layers import heads
from minillm.layers.block import pre_norm
from minillm.layers.dense import feed_forward
from minillm.layers.gradients import PartlyTrained
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Llama3
from minillm.quantised import quantise
from minillm.training import AdamW
from minillm.training.packed import Packed

pytestmark = pytest.mark.usefixtures("both_twins")
V, C = 7, 12


UNUSUAL = {  # of the sizes of a Llama
    "key_heads": 1,
    "feed_forward": 10,
    "rotary_base": 50.0,
    "rope_scaling": Llama3(4.0, 1.0, 4.0, 9.0),
    "eps": 1e-3,
}
CHANGED = UNUSUAL | {"global_every": 2, "window": 5}
FAMILIES = {
    "gpt": (GPT, GPTConfig, {}),
    "llama": (Llama, LlamaConfig, UNUSUAL),
    "decoder": (Decoder, DecoderConfig, CHANGED | {"family": "gemma3"}),
}
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


def in_pieces(reader, ids, cuts):
    """The logits of every id, read in pieces."""
    results, cache = [], reader.zero_state(len(ids))
    for begin, end in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
        logits, cache = reader.read_all(ids[:, begin:end], cache)
        results.append(logits)
    return np.concatenate(results, axis=1)


def watch(monkeypatch, family, seen):
    """Let ``seen`` take the backward of each block that runs, and run that instead."""
    Model, block = FAMILIES[family][0], FAMILIES[family][0].block

    def watched(model, layer, *others, **options):
        y, backward = block(model, layer, *others, **options)
        return y, seen(f"blocks.{layer}", backward)

    monkeypatch.setattr(Model, "block", watched)


# --- the page -------------------------------------------------------------------------------


@originals_deep
@every_model
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient(family, dropout):
    check_model(new(family, dropout=dropout), (texts(3, 5), texts(3, 5, seed=1)))


def test_the_block_of_a_gpt_has_two_branches():
    """Written line by line, it has the bits of the branches of every other Transformer."""
    model = new("gpt", dropout=0.3)
    p, x = model.params, np.random.default_rng(0).standard_normal((2, 5, 8))
    branches = {
        "blocks.0.norm_1": lambda x: heads.self_attention(
            p, "blocks.0.attention", x, 2, heads.causal
        ),
        "blocks.0.norm_2": lambda x: feed_forward(p, "blocks.0.feed_forward", x),
    }
    y, backward = model.block(0, x, None, heads.causal, np.random.default_rng(1))
    expected, expected_backward = pre_norm(p, branches, x, 0.3, np.random.default_rng(1))
    np.testing.assert_array_equal(y, expected)
    (dx, gradients), (expected_dx, others) = backward(x), expected_backward(x)
    np.testing.assert_array_equal(dx, expected_dx)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name])


@every_model
def test_the_backward_of_the_logits_is_that_of_the_loss(family):
    model, ids, targets = new(family), texts(3, 5), texts(3, 5, seed=1)
    logits, logits_backward = model.forward(ids)
    loss, backward = ops.cross_entropy(logits, targets)
    same, same_backward = model.loss((ids, targets))
    assert same == loss
    gradients, others = logits_backward(backward()), same_backward()
    assert gradients.keys() == others.keys() == model.params.keys()
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name])


@every_model
def test_later_tokens_change_nothing_before(family):
    model, ids = new(family), texts(2, 9)
    other = ids.copy()
    other[:, 5:] = (other[:, 5:] + 1) % V
    before, after = (model.forward(x)[0][:, :5] for x in (ids, other))
    np.testing.assert_array_equal(before, after)


@every_model
def test_forward_beyond_the_context_is_refused(family):
    model = new(family)
    reader = Reader(model)
    with pytest.raises(ValueError, match="expected at most 12 tokens, found 13"):
        model.forward(texts(1, C + 1))
    with pytest.raises(ValueError, match="expected at most 12 tokens, found 13"):
        reader.read_all(texts(1, C + 1), reader.zero_state(1))
    _, cache = reader.read_all(texts(1, C), reader.zero_state(1))
    with pytest.raises(ValueError, match="at most 12 tokens, found 13"):
        reader.read_all(texts(1, 1), cache)


@every_model
def test_fresh_predictions_are_nearly_uniform(family):
    Model, Config, _ = FAMILIES[family]
    config = Config(vocabulary=65, context=32, layers=4, heads=4, width=64)
    model = Model(config, np.random.default_rng(0))
    ids, targets = np.random.default_rng(1).integers(0, 65, (2, 4, 32))
    loss, _ = model.loss((ids, targets))
    assert abs(float(loss) - np.log(65)) < 0.1


@usual_kernels
@pytest.mark.deep
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
        _, backward = Packed(model).loss((inputs, targets), mask=mask)
        optimiser.step(backward(), 1e-2 * min(1, (step + 1) / 20))
    inputs, targets, mask = batch(64)
    loss, _ = Packed(model).loss((inputs, targets), mask=mask)
    assert loss < 0.1  # log 12 is 2.5


# --- what is trained --------------------------------------------------------------------------


PARTS = [
    ["embedding.E"],
    ["positions.E", "norm.gain"],
    ["blocks.0.attention.W_qkv", "blocks.1.attention.W_o"],
    ["blocks.0.attention.b_o", "blocks.1.feed_forward.b_1"],  # of weights that are constant
    ["blocks.1.norm_1.gain"],
    ["norm.gain"],
    [],
]


@every_model
@pytest.mark.parametrize("names", PARTS)
def test_the_gradients_of_what_is_trained_do_not_change(family, names):
    model, batch = new(family, dropout=0.3), (texts(3, 5), texts(3, 5, seed=1))
    trained = model.params.keys() & names
    loss, backward = model.loss(batch, np.random.default_rng(2))
    model.params = PartlyTrained(model.params, trained)
    same, part_backward = model.loss(batch, np.random.default_rng(2))
    assert same == loss
    whole, part = backward(), part_backward()
    assert trained <= part.keys()
    for name in trained:
        np.testing.assert_allclose(part[name], whole[name], rtol=1e-13, atol=1e-16)
    assert {name for name in part.keys() - trained if model.params[name].ndim > 1} == set()


@every_model
@pytest.mark.parametrize(
    ("lowest", "reached"),
    [
        ("norm.gain", []),
        ("blocks.2.attention.W_o", [2]),
        ("blocks.1.norm_1.gain", [2, 1]),
        ("embedding.E", [2, 1, 0]),
    ],
)
def test_no_block_below_what_is_trained_runs_backwards(family, lowest, reached, monkeypatch):
    ran = []

    def seen(prefix, backward):
        return lambda dy: ran.append(prefix) or backward(dy)

    watch(monkeypatch, family, seen)
    model = new(family, layers=3)
    model.params = PartlyTrained(model.params, {lowest})
    model.loss((texts(2, 5), texts(2, 5)))[1]()
    assert ran == [f"blocks.{number}" for number in reached]


@every_model
def test_no_gradient_of_a_constant_matrix_is_computed(family, monkeypatch):
    """Where norms alone are trained, no backward of a product is called."""
    model, linear, called = new(family, layers=3), ops.linear, []

    def watched(*arguments):
        y, backward = linear(*arguments)
        return y, lambda dy: called.append(dy.shape) or backward(dy)

    monkeypatch.setattr(ops, "linear", watched)
    batch = texts(2, 5), texts(2, 5)
    model.loss(batch)[1]()
    assert len(called) == 3 * 4 + 1  # four matrices of each block, and the output
    norms = {name for name in model.params if ".norm_" in name}
    model.params = PartlyTrained(model.params, norms)
    _, backward = model.loss(batch)
    called.clear()
    assert norms <= backward().keys()
    assert not called


# --- reading on -------------------------------------------------------------------------------


@every_model
@given(st.lists(st.integers(1, C - 1), unique=True).map(sorted), st.integers(1, 3), st.booleans())
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_any_split_gives_the_logits_of_the_page(family, dtype, tolerance, cuts, B, steps):
    """By steps of a few tokens, and by whole layers with a cache."""
    model, ids = new(family, dtype=dtype), texts(B, C)
    reader, (whole, _) = Reader(model), model.forward(ids)
    if not steps:
        reader.most_steps = 0
    split = in_pieces(reader, ids, cuts)
    assert split.dtype == dtype
    np.testing.assert_allclose(split, whole, atol=tolerance * np.abs(whole).max())


@pytest.mark.skipif(
    kernels_info()["available"] == ["numpy"], reason="the compiled kernels are not built"
)
@pytest.mark.parametrize("type", [None, "Q4_1", "Q8_0"])
@given(st.lists(st.integers(2, 30), min_size=2, max_size=6))
@settings(max_examples=15)
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


@every_model
@pytest.mark.parametrize("most", [None, 0])
def test_a_cache_may_be_continued_twice(family, most):
    model, ids, other = new(family), texts(2, 9), texts(2, 4, seed=5)
    reader = Reader(model)
    if most is not None:
        reader.most_steps = most
    _, cache = reader.read_all(ids[:, :5], reader.zero_state(2))
    first, one = reader.read_all(ids[:, 5:7], cache)
    second, _ = reader.read_all(other, cache)  # from the same place
    third, _ = reader.read_all(ids[:, 7:], one)
    whole, _ = model.forward(ids)
    np.testing.assert_allclose(np.concatenate([first, third], 1), whole[:, 5:], atol=1e-12)
    branch, _ = model.forward(np.concatenate([ids[:, :5], other], 1))
    np.testing.assert_allclose(second, branch[:, 5:], atol=1e-12)


@every_model
@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(0, 4))
def test_a_batch_of_unequal_prompts_equals_its_rows(family, lengths, steps):
    reader = Reader(new(family))
    lengths = np.array(lengths)
    ids = texts(len(lengths), int(lengths.max()))
    logits, cache = reader.read(ids, reader.zero_state(len(ids)), lengths)
    rows = [reader.read(ids[b : b + 1, :n], reader.zero_state(1)) for b, n in enumerate(lengths)]
    for step in range(steps + 1):
        expected = np.concatenate([row for row, _ in rows])
        np.testing.assert_allclose(logits, expected, atol=1e-12)
        new_ids = texts(len(ids), 1, seed=step)
        logits, cache = reader.read(new_ids, cache)
        rows = [reader.read(new_ids[b : b + 1], state) for b, (_, state) in enumerate(rows)]


def windowed(model, text):
    """The logits after a text, by the definition of the sliding window."""
    context = model.config.context
    while len(text) > context:
        text = text[context - context // 2 :]
    return model.forward(text[None])[0][0, -1]


@every_model
@given(st.integers(1, 40), st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(3, 9))
def test_past_the_context_the_window_slides(family, prompt, pieces, context):
    model = new(family, context=context)
    reader = Reader(model)
    text = texts(1, prompt + sum(pieces))
    logits, state = reader.read(text[:, :prompt], reader.zero_state(1))
    at = prompt
    np.testing.assert_allclose(logits[0], windowed(model, text[0, :at]), atol=1e-12)
    for piece in pieces:
        logits, state = reader.read(text[:, at : at + piece], state)
        at += piece
        np.testing.assert_allclose(logits[0], windowed(model, text[0, :at]), atol=1e-12)


@every_model
def test_rows_slide_each_at_its_own_time(family):
    model, lengths = new(family, context=6), np.array([6, 2, 5])
    reader, ids = Reader(model), texts(3, 6)
    logits, state = reader.read(ids, reader.zero_state(3), lengths)
    rows = [list(ids[b, :n]) for b, n in enumerate(lengths)]
    for step in range(8):
        new_ids = texts(3, 1, seed=step)
        logits, state = reader.read(new_ids, state)
        for b, row in enumerate(rows):
            row.append(new_ids[b, 0])
            np.testing.assert_allclose(logits[b], windowed(model, np.array(row)), atol=1e-12)


@every_model
@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.parametrize("options", [{"heads": 4}, {"layers": 1}, {"layers": 3}, {"context": 20}])
def test_the_cache_of_another_model_of_equal_width_is_refused(family, options, T):
    ids = np.array([[1, 2, 3], [0, 1, 2]])
    reader, other = Reader(new(family)), Reader(new(family, **options))
    _, state = other.read(ids, other.zero_state(2))
    for read in (reader.read, reader.read_all):
        with pytest.raises(ValueError, match="state: expected a cache of so many rows"):
            read(ids[:, :T], state)


@every_model
def test_a_cache_of_other_rows_or_numbers_is_refused(family):
    reader, ids = Reader(new(family)), np.array([[1, 2, 3], [0, 1, 2]])
    _, one = reader.read(ids[:1], reader.zero_state(1))
    other = Reader(new(family, dtype=np.float32))
    _, single = other.read(ids, other.zero_state(2))
    for state in (one, single):
        with pytest.raises(ValueError, match="state: expected a cache of so many rows"):
            reader.read(ids[:, :1], state)


def test_what_a_kernel_indexes_with_is_not_the_callers(monkeypatch):
    """Another thread may write into the state after it has been checked."""
    reader, ids, checked = Reader(new("gpt")), np.array([[1, 2], [0, 1]]), []
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

    model, ids = Doubled(new("gpt").config, params=new("gpt").params), texts(2, 6)
    check_model(model, (ids, ids))
    logits, _ = model.forward(ids)
    np.testing.assert_allclose(in_pieces(Reader(model), ids, [1, 2, 4]), logits, rtol=1e-9)


@every_model
def test_reading_keeps_nothing_for_a_backward(family, monkeypatch):
    """What a block would keep is freed before the next one: a long prompt needs no more memory."""
    alive, most = [], []

    def seen(prefix, backward):
        alive.append(weakref.ref(backward))
        most.append(sum(ref() is not None for ref in alive))
        return backward

    watch(monkeypatch, family, seen)
    model = new(family, layers=3, context=64)
    reader = Reader(model)
    reader.read(texts(1, 40), reader.zero_state(1))
    assert max(most) <= 2  # this one, and at most the one below
    alive.clear()
    most.clear()
    result = model.forward(texts(1, 40))
    assert most == [1, 2, 3]
    del result
