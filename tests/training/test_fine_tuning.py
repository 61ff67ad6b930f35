"""Depths, a learning rate for each, and what is unfrozen when."""

import numpy as np
import pytest

from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.models.gpt import GPTConfig
from minillm.models.language_model import LanguageModelConfig
from minillm.training import SGD, AdamW
from minillm.training.fine_tuning import ByLayer, depths, lowest_trained


def by_depth(model):
    found = {}
    for name, depth in depths(model.params).items():
        found.setdefault(depth, set()).add(name)
    return found


def test_depths_of_the_models():
    rng = np.random.default_rng(0)
    sizes = {"context": 6, "layers": 2, "heads": 2, "width": 4}
    bert = by_depth(BERT(BERTConfig(7, **sizes), rng))
    assert bert[0] >= {"embedding.E", "positions.E", "segments.E", "embedding.norm.gain"}
    assert {name[:9] for name in bert[1]} == {"blocks.0."}
    assert {name[:9] for name in bert[2]} == {"blocks.1."}
    assert {name.split(".")[0] for name in bert[3]} == {"mask"}
    gpt = by_depth(FineTuned(FineTunedConfig("gpt", GPTConfig(7, **sizes), 2), rng))
    assert gpt[0] == {"encoder.embedding.E", "encoder.positions.E"}
    assert {name[:17] for name in gpt[2]} == {"encoder.blocks.1."}
    assert gpt[3] == {"encoder.norm.gain", "encoder.norm.bias", "output.W", "output.b"}
    lm = LanguageModelConfig(7, 0, 4, layers=2, headless=True)
    one_hot = by_depth(FineTuned(FineTunedConfig("lm", lm, 2), rng))
    assert one_hot.keys() == {1, 2, 3}
    pairs = by_depth(EncoderDecoder(EncoderDecoderConfig(7, 7, 4, 4, layers=2), rng))
    assert pairs[0] == {"source.E"}
    assert {name[:10] for name in pairs[1]} == {"encoder.0."}
    assert {name[:10] for name in pairs[2]} == {"encoder.1."}
    assert {"target.E", "decoder.0.W_x", "output.W"} <= pairs[3]


def some(rng):
    names = ["embedding.E", "layers.0.W", "layers.1.W", "layers.1.b", "output.W"]
    return {name: rng.standard_normal((2, 3)) for name in names}


def test_each_layer_has_its_rate():
    rng = np.random.default_rng(0)
    params, grads = some(rng), some(rng)
    before = {name: array.copy() for name, array in params.items()}
    ByLayer(params, lambda group: SGD(group, momentum=0.0), decay=0.5).step(grads, 0.4)
    for name, factor in zip(params, (0.125, 0.25, 0.5, 0.5, 1), strict=True):
        np.testing.assert_allclose(params[name], before[name] - 0.4 * factor * grads[name])


def test_a_layer_without_gradients_waits_and_begins_as_new():
    """What begins later takes the steps that it would have taken from the start."""
    rng = np.random.default_rng(0)
    params = some(rng)
    late = {name: array.copy() for name, array in params.items()}
    optimiser = ByLayer(params, AdamW)
    grads = some(rng)
    for _ in range(5):
        optimiser.step({"output.W": grads["output.W"]}, 0.1)
    for name in late.keys() - {"output.W"}:
        np.testing.assert_array_equal(params[name], late[name])
    optimiser.step(grads, 0.1)
    AdamW(late).step(grads, 0.1)
    for name in late.keys() - {"output.W"}:
        np.testing.assert_array_equal(params[name], late[name])


def test_resumed_equals_uninterrupted():
    rng = np.random.default_rng(0)
    first = some(rng)
    second = {name: array.copy() for name, array in first.items()}
    whole, parts = ByLayer(first, AdamW, 0.7), ByLayer(second, AdamW, 0.7)
    for step in range(6):
        grads = some(rng)
        if step < 3:
            grads.pop("embedding.E")
        if step == 4:
            arrays, values = parts.state()
            parts = ByLayer(second, AdamW, 0.7)
            parts.restore({name: array.copy() for name, array in arrays.items()}, values)
        whole.step(grads, 0.1)
        parts.step(grads, 0.1)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@pytest.mark.parametrize("unfreeze", [0.0, 0.3, 1.0])
def test_unfreezing_ends_with_all(unfreeze):
    found = [lowest_trained(p / 1000, unfreeze, lowest=0, top=7) for p in range(1001)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0
    assert set(found) == (set(range(8)) if unfreeze else {0})
    assert found[0] == (7 if unfreeze else 0)
