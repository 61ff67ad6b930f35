"""Decoders after Llama: each change by itself."""

import numpy as np
import pytest
from model_table import BLOCKS, V, decoder

from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.llama import Llama, LlamaConfig

both_twins = pytest.mark.usefixtures("both_twins")
SMALL = BLOCKS | {"width": 4, "feed_forward": 3, "key_heads": 1}


def new(family, **options):
    return decoder(family, **{"width": 4, "head_width": 4, "feed_forward": 3} | options).new()


@both_twins
@pytest.mark.parametrize("family", ["mistral", "phi3"])
def test_without_a_window_it_is_a_llama(family):
    decoder = Decoder(DecoderConfig(V, family=family, **SMALL), np.random.default_rng(0))
    llama = Llama(LlamaConfig(V, **SMALL), params=decoder.params)
    ids = np.random.default_rng(1).integers(0, 5, (2, 8))
    np.testing.assert_array_equal(decoder.forward(ids)[0], llama.forward(ids)[0])


@both_twins
def test_a_window_ends_what_a_token_sees():
    """L layers of windows W pass a token on by L (W - 1) positions, and no further."""
    model = new("mistral", window=3, global_every=0, unrotated_every=0)
    ids = np.array([[0, 1, 2, 3, 4, 0, 1, 2]])
    expected = model.forward(ids)[0][0]
    ids[0, 1] = 4
    changed = np.any(model.forward(ids)[0][0] != expected, axis=-1)
    assert changed.tolist() == [False] + 5 * [True] + 2 * [False]


@both_twins
def test_sinks_stay_in_sight():
    """All later tokens see the first two, and the third as far as the window carries it."""
    model = new("mistral", window=2, sinks=2, layers=1, global_every=0, unrotated_every=0)
    ids = np.array([[0, 1, 2, 3, 4, 0, 1, 2]])
    expected = model.forward(ids)[0][0]
    for changed, seen in [(0, range(8)), (1, range(1, 8)), (2, (2, 3)), (6, (6, 7))]:
        other = ids.copy()
        other[0, changed] += 1
        differs = np.any(model.forward(other)[0][0] != expected, axis=-1)
        assert np.flatnonzero(differs).tolist() == list(seen)


@both_twins
def test_without_rotation_only_the_set_of_earlier_tokens_counts():
    model = new("smollm3", layers=1, unrotated_every=1)
    last = model.forward(np.array([[0, 1, 2, 3], [2, 0, 1, 3]]))[0][:, -1]
    np.testing.assert_allclose(last[0], last[1], rtol=1e-12)
    rotated = new("smollm3", layers=1, unrotated_every=2)
    last = rotated.forward(np.array([[0, 1, 2, 3], [2, 0, 1, 3]]))[0][:, -1]
    assert abs(last[0] - last[1]).max() > 1e-3


@both_twins
def test_the_lengths_of_queries_do_not_count_after_a_norm():
    model = new("qwen3", eps=1e-12)
    ids = np.arange(5)[None]
    expected = model.forward(ids)[0]
    for layer in range(2):
        model.params[f"blocks.{layer}.attention.W_qkv"][:, :12] *= 7.0  # queries and keys
    np.testing.assert_allclose(model.forward(ids)[0], expected, rtol=1e-9)


@both_twins
def test_layers_of_gemma_have_their_own_angles():
    model = new("gemma3", window=8, unrotated_every=0)
    other = new("gemma3", window=8, unrotated_every=0, rotary_base=20.0)
    assert [model.config.rotation_of(layer)[0] for layer in range(2)] == [10000.0, 10000.0]
    assert [other.config.rotation_of(layer)[0] for layer in range(2)] == [10000.0, 20.0]
    assert model.config.mask_of(0).window == 8
    assert model.config.mask_of(1).window is None
