"""Caches of texts whose kept keys would have other angles, cut back and padded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from usual import usual_kernels

from minillm import use_kernels
from minillm.decoding import Reader
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Yarn
from minillm.testing import strategies

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


@usual_kernels
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


@usual_kernels
@given(rng=strategies.generators(), lengths=st.lists(st.integers(1, 14), min_size=3, max_size=3))
def test_padding_makes_no_text_longer(kernels, model, rng, lengths):
    ids, lengths = rng.integers(0, 20, (3, 20)), np.array(lengths)
    with use_kernels(kernels):
        reader = Reader(model)
        logits, state = reader.read(ids[:, : lengths.max()], reader.zero_state(3), lengths)
        for read, more in ((0, 1), (1, 2), (3, 0)):  # tokens after the prompts
            for row, n in enumerate(lengths):
                text = np.concatenate([ids[row, :n], ids[row, 17 : 17 + read]])
                expected, _ = model.forward(text[None])
                np.testing.assert_allclose(logits[row], expected[0, -1], 1e-9, 1e-9)
            if more:
                logits, state = reader.read(ids[:, 17 + read : 17 + read + more], state)
