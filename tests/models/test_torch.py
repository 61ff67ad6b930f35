"""GPT and the Transformer against PyTorch, where it is installed: logits, loss, and gradients."""

import numpy as np
import pytest
from usual import originals_deep

from minillm.decoding import TargetDecoder
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.transformer import Transformer, TransformerConfig

pytest.importorskip("torch")

import torch_reference

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]


def drawn(Model, config, dtype, rng):
    model = Model(config, rng, dtype=dtype)
    for array in model.params.values():  # no bias is zero, no gain one, no branch negligible
        array += (0.2 * rng.standard_normal(array.shape)).astype(dtype)
    return model


def same_loss(model, batch, loss, gradients, tolerance):
    ours, backward = model.loss(batch)
    assert ours == pytest.approx(float(loss), rel=tolerance)
    results = backward()
    assert results.keys() == gradients.keys()
    scale = max(np.abs(array).max() for array in gradients.values())
    for name, array in gradients.items():
        np.testing.assert_allclose(
            results[name], array, atol=tolerance * scale, rtol=0, err_msg=name
        )


def close(results, expected, tolerance):
    np.testing.assert_allclose(results, expected, atol=tolerance * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 5e-6)])
@pytest.mark.parametrize(
    ("B", "T", "layers", "heads", "width"), [(3, 9, 3, 4, 24), (1, 1, 1, 1, 5)]
)
def test_gpt(dtype, tolerance, B, T, layers, heads, width):
    config = GPTConfig(vocabulary=31, context=12, layers=layers, heads=heads, width=width)
    rng = np.random.default_rng(layers)
    model = drawn(GPT, config, dtype, rng)
    inputs, targets = rng.integers(0, 31, (2, B, T))
    (logits, loss), gradients = torch_reference.gpt(model.params, layers, heads, inputs, targets)
    same_loss(model, (inputs, targets), loss, gradients, tolerance)
    close(model.forward(inputs)[0], logits, tolerance)


@pytest.mark.parametrize("post_norm", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 1e-5)])
@pytest.mark.parametrize(
    ("B", "S", "T", "layers", "heads", "width"), [(4, 9, 7, 2, 4, 24), (1, 1, 1, 1, 1, 2)]
)
def test_transformer(post_norm, dtype, tolerance, B, S, T, layers, heads, width):
    config = TransformerConfig(
        31, 31, layers, heads, width, feed_forward=40, post_norm=post_norm, shared=True
    )
    rng = np.random.default_rng(layers)
    model = drawn(Transformer, config, dtype, rng)
    source, target = rng.integers(0, 31, (B, S)), rng.integers(0, 31, (B, T))
    source_lengths, target_lengths = rng.integers(1, S + 1, B), rng.integers(1, T + 1, B)
    target[np.arange(B), target_lengths - 1] = config.eos
    batch = source, source_lengths, target, target_lengths
    (logits, loss), gradients = torch_reference.transformer(model.params, config, batch)
    same_loss(model, batch, loss, gradients, tolerance)

    decoder, inputs = TargetDecoder(model), [np.full(B, config.bos), *target.T]
    state = decoder.start(source, source_lengths)
    for t in range(T):  # and token by token
        at_t, _, state = decoder.step(inputs[t][:, None], state)
        close(at_t[:, 0], logits[:, t], tolerance)
