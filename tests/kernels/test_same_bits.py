"""A model with packed weights reads a text to the same bits whole, in parts, one token after the
other, alone, beside others, on any number of threads, and on AVX-512 and AVX2."""

import functools

import numpy as np
import pytest

from minillm import kernels_info, use_kernels, use_threads
from minillm.decoding import Reader
from minillm.decoding.cache import gathered
from minillm.models.decoders import Decoder, DecoderConfig

from .test_step import moved, packed, with_additions

TOKENS, OTHERS, V = 300, 5, 40
SIZES = {"context": 320, "layers": 2, "key_heads": 2, "heads": 4, "width": 64, "feed_forward": 96}
MODELS = {  # sizes, and the bits of the weights
    "biases, one head for each": ({"family": "qwen2", "heads": 2, "key_heads": 2}, (8,)),
    "norms of heads, their width odd": ({"family": "qwen3", "head_width": 22}, (4, 8)),
    "windows and sinks": ({"family": "mistral", "window": 50, "sinks": 5}, (5,)),
    "windows above a stretch": ({"family": "mistral", "window": 270, "tied": False}, (4,)),
    "four norms": ({"family": "gemma3", "window": 21, "global_every": 2}, (4, 8)),
    "some of floats": ({"family": "qwen2", "feed_forward": 290}, (8,)),
    "additions": ({"family": "smollm3", "unrotated_every": 2, "feed_forward": 288}, (8, 4)),
}


@functools.cache
def model_of(name):
    sizes, bits = MODELS[name]
    config = DecoderConfig(V, **SIZES | {"tied": True} | sizes)
    model = moved(Decoder(config, np.random.default_rng(0), dtype=np.float32))
    for weight, W in model.params.items():
        if W.ndim == 2:
            model.params[weight] = packed(weight, W, bits)
    return with_additions(model) if name == "additions" else model


@functools.cache
def texts():
    return np.random.default_rng(1).integers(0, V, (1 + OTHERS, TOKENS))


def read(name, ids, part):
    """The logits after each id, read in parts of so many."""
    reader = Reader(model_of(name))
    state, logits = reader.zero_state(len(ids)), []
    for first in range(0, ids.shape[1], part):
        some, state = reader.read_all(ids[:, first : first + part], state)
        logits.append(some)
    return np.concatenate(logits, axis=1)


@functools.cache
def whole(name, kernels):
    with use_kernels(kernels), use_threads(1):
        return read(name, texts()[:1], TOKENS)[0]


def compiled():
    return [name for name in kernels_info()["available"] if name != "numpy"]


@pytest.mark.parametrize("kernels", ["avx512", "avx2", "baseline"])
@pytest.mark.parametrize("name", MODELS)
def test_a_text_has_the_same_bits_however_it_is_read(name, kernels):
    if kernels not in compiled():
        pytest.skip(f"{kernels} does not run here")
    expected = whole(name, kernels)
    with use_kernels(kernels), use_threads(2):
        for part in (1, 2, 7, 17, 60, TOKENS):
            np.testing.assert_array_equal(read(name, texts()[:1], part)[0], expected)
            if part != 2:
                np.testing.assert_array_equal(read(name, texts(), part)[0], expected)
        # Beside texts of other lengths.
        reader, begun = Reader(model_of(name)), [101, 1, 40, 160, 99, 256]
        rows = [
            (reader.read(text[None, :n], reader.zero_state(1))[1], 0)
            for text, n in zip(texts(), begun, strict=True)
        ]
        state = gathered(rows)
        for t in range(40):
            ids = np.array([text[n + t] for text, n in zip(texts(), begun, strict=True)])[:, None]
            logits, state = reader.read(ids, state)
            np.testing.assert_array_equal(logits[0], expected[begun[0] + t])


@pytest.mark.parametrize("name", MODELS)
def test_avx512_has_the_bits_of_avx2(name):
    if not {"avx512", "avx2"} <= set(compiled()):
        pytest.skip("one of them does not run here")
    np.testing.assert_array_equal(whole(name, "avx512"), whole(name, "avx2"))
