"""What attention reads of a cache, and texts whose kept keys would have other angles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.decoding import Reader
from minillm.decoding.cache import Cache
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Yarn
from minillm.testing import strategies


@pytest.mark.parametrize(("window", "sinks"), [(None, 0), (1, 0), (5, 0), (1, 4), (3, 2)])
@given(rng=strategies.generators(), cuts=st.sets(st.integers(1, 11)))
def test_parts_of_a_text_attend_as_the_whole_text(kernels, rng, window, sinks, cuts):
    q = rng.standard_normal((2, 4, 12, 6))
    k, v = rng.standard_normal((2, 2, 2, 12, 6))
    mask = ops.Mask(True, window=window, sinks=sinks)
    cache, ends = Cache.empty(2, 12, 1, 2, 6, np.float64), [*sorted(cuts), 12]
    with use_kernels(kernels):
        whole, _ = ops.scaled_dot_product_attention(q, k, v, mask=mask)
        for first, last in zip([0, *ends], ends, strict=False):
            cache = cache.extended(np.zeros((2, last - first), int), np.full(2, last - first))
            part = np.s_[:, :, first:last]
            y, _ = cache.attend(0, mask)(q[part], k[part], v[part])
            np.testing.assert_allclose(y, whole[part], 1e-12, 1e-12)


SIZES = {"context": 24, "layers": 2, "heads": 2, "width": 8, "feed_forward": 9}
SCALED = {"rope_scaling": Yarn(4.0, 9)}


@pytest.fixture(scope="module", params=["llama", "smollm3"])
def model(request):
    rng = np.random.default_rng(0)
    if request.param == "llama":
        model = Llama(LlamaConfig(20, **SIZES, **SCALED), rng, dtype=np.float64)
    else:
        config = DecoderConfig(20, **SIZES, **SCALED, family=request.param, unrotated_every=2)
        model = Decoder(config, rng, dtype=np.float64)
    for array in model.params.values():
        array += 0.3 * rng.standard_normal(array.shape)
    return model


@given(rng=strategies.generators(), cuts=st.sets(st.integers(1, 19)), all_of_them=st.booleans())
def test_a_text_in_parts(kernels, model, rng, cuts, all_of_them):
    """Also where it gets longer than the original context of its angles."""
    ids = rng.integers(0, 20, (2, 20))
    reader, ends = Reader(model), [*sorted(cuts), 20]
    state = reader.zero_state(2)
    with use_kernels(kernels):
        for first, last in zip([0, *ends], ends, strict=False):
            expected, _ = model.forward(ids[:, :last])
            if all_of_them:
                logits, state = reader.read_all(ids[:, first:last], state)
                np.testing.assert_allclose(logits, expected[:, first:], 1e-9, 1e-9)
            else:
                logits, state = reader.read(ids[:, first:last], state)
                np.testing.assert_allclose(logits, expected[:, -1], 1e-9, 1e-9)


@given(
    rng=strategies.generators(),
    n=st.integers(1, 18),
    lengths=st.lists(st.integers(1, 18), min_size=1, max_size=4),
    more=st.integers(1, 5),
    last=st.booleans(),
)
def test_a_cache_that_is_cut_back(kernels, model, rng, n, lengths, more, last):
    """To any length, again and again, as guesses and a conversation's prompts are."""
    ids, reader = rng.integers(0, 20, (1, 24)), Reader(model)
    with use_kernels(kernels):
        _, state = reader.read(ids[:, :n], reader.zero_state(1))
        for length in lengths:
            before, old, length = state, ids[:, :n].copy(), min(length, n)
            ids[:, length:] = rng.integers(0, 20, (1, 24 - length))
            most, n = max(0, min(n, length + more - 2)), length + more
            common, state = reader.cut(ids[0, :n], state, last=last)
            assert common == np.cumprod(ids[0, :most] == old[0, :most]).sum()
            logits, state = reader.read_all(ids[:, common:n], state)
            expected, _ = model.forward(ids[:, :n])
            np.testing.assert_allclose(logits, expected[:, common:], 1e-9, 1e-9)
            if not last:  # the longer one can still go on
                logits, _ = reader.read(np.array([[3]]), before)
                expected, _ = model.forward(np.append(old, [[3]], axis=1))
                np.testing.assert_allclose(logits, expected[:, -1], 1e-9, 1e-9)


@given(rng=strategies.generators(), lengths=st.lists(st.integers(1, 14), min_size=3, max_size=3))
def test_padding_makes_no_text_longer(kernels, model, rng, lengths):
    ids, lengths = rng.integers(0, 20, (3, 20)), np.array(lengths)
    with use_kernels(kernels):
        reader = Reader(model)
        logits, state = reader.read(ids[:, : lengths.max()], reader.zero_state(3), lengths)
        for step in range(3):
            for row, n in enumerate(lengths + step):
                text = np.concatenate([ids[row, : lengths[row]], ids[row, 17 : 17 + step]])
                expected, _ = model.forward(text[None])
                np.testing.assert_allclose(logits[row], expected[0, n - 1], 1e-9, 1e-9)
            logits, state = reader.read(ids[:, [17 + step]], state)
