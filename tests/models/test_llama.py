"""Llama: its equations, and the rows of n-grams."""

import numpy as np
import pytest

from minillm.look.measurements import read_gpt
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.llama import Llama, LlamaConfig

both_twins = pytest.mark.usefixtures("both_twins")
TINY = {"vocabulary": 5, "context": 6, "layers": 1, "heads": 2, "width": 4, "feed_forward": 3}


def new(seed=0, **options):
    rng = np.random.default_rng(seed)
    model = Llama(LlamaConfig(**TINY | options), rng, dtype=np.float64)
    for array in model.params.values():
        array += 0.4 * rng.standard_normal(array.shape)
    return model


def with_ngrams(family="gemma3"):
    config, rng = DecoderConfig(**TINY, family=family, ngrams=3), np.random.default_rng(0)
    model = Decoder(config, rng, dtype=np.float64)
    for name in ("embedding.ngrams.2.E", "embedding.ngrams.3.E"):
        model.params[name] += rng.standard_normal(model.params[name].shape)
    return model


def test_a_picture_shows_the_logits_of_a_model_with_ngrams():
    for model in (with_ngrams("qwen3"), with_ngrams("gemma3")):
        ids = np.array([3, 1, 4, 1, 2])
        expected, _ = model.forward(ids[None])
        np.testing.assert_allclose(read_gpt(model, ids)["logits"][1:], expected[0], rtol=1e-6)


def test_ngrams_are_dropped_in_training_alone():
    model = with_ngrams()
    ids = np.random.default_rng(1).integers(0, 5, (4, 6))
    known, _ = model.embed(ids)
    trained, _ = model.embed(ids, rng=np.random.default_rng(3))
    assert not np.array_equal(known, trained)
    assert np.array_equal(known, model.embed(ids)[0])


@both_twins
def test_the_equations():
    """A model of one block, written out for one text, a head and a token at a time."""
    model = new(heads=4, key_heads=2, head_width=6, tied=False, eps=0.01, rotary_base=30.0)
    p, ids, w = model.params, np.array([3, 1, 4, 1]), 6

    def rms(x, gain):
        return gain * x / np.sqrt((x**2).mean() + 0.01)

    def rotated(x, t):
        z = (x[: w // 2] + 1j * x[w // 2 :]) * np.exp(1j * t * 30.0 ** (-2 * np.arange(w // 2) / w))
        return np.concatenate([z.real, z.imag])

    x = p["embedding.E"][ids]
    qkv = [rms(row, p["blocks.0.norm_1.gain"]) @ p["blocks.0.attention.W_qkv"] for row in x]
    for t in range(4):
        context = []
        for n in range(4):
            q = rotated(qkv[t][n * w :][:w], t)
            keys = [rotated(row[(4 + n // 2) * w :][:w], s) for s, row in enumerate(qkv[: t + 1])]
            values = [row[(6 + n // 2) * w :][:w] for row in qkv[: t + 1]]
            scores = np.exp([q @ k / np.sqrt(w) for k in keys])
            context.append(scores / scores.sum() @ np.array(values))
        x[t] += np.concatenate(context) @ p["blocks.0.attention.W_o"]
        hidden = rms(x[t], p["blocks.0.norm_2.gain"]) @ p["blocks.0.feed_forward.W_gate_up"]
        gate, up = hidden[:3], hidden[3:]
        x[t] += gate / (1 + np.exp(-gate)) * up @ p["blocks.0.feed_forward.W_down"]
        x[t] = rms(x[t], p["norm.gain"])
    logits, _ = model.forward(ids[None])
    np.testing.assert_allclose(logits[0], x @ p["output.W"], rtol=1e-12)
