"""The Transformer against PyTorch, where it is installed: logits, loss, gradients, and steps.

Other models are compared with transformers, in formats/test_huggingface.py.
"""

import numpy as np
import pytest
from usual import originals_deep

from minillm.decoding import TargetDecoder
from minillm.models.transformer import Transformer, TransformerConfig

pytest.importorskip("torch")

import torch_reference

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]


def close(results, expected, tolerance, scale=None):
    scale = np.abs(expected).max() if scale is None else scale
    np.testing.assert_allclose(results, expected, atol=tolerance * scale, rtol=0)


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
    model = Transformer(config, rng, dtype=dtype)
    for array in model.params.values():  # no bias is zero, no gain one, no branch negligible
        array += (0.2 * rng.standard_normal(array.shape)).astype(dtype)
    source, target = rng.integers(0, 31, (B, S)), rng.integers(0, 31, (B, T))
    source_lengths, target_lengths = rng.integers(1, S + 1, B), rng.integers(1, T + 1, B)
    target[np.arange(B), target_lengths - 1] = config.eos
    batch = source, source_lengths, target, target_lengths
    (logits, loss), gradients = torch_reference.transformer(model.params, config, batch)
    ours, backward = model.loss(batch)
    assert ours == pytest.approx(float(loss), rel=tolerance)
    results = backward()
    assert results.keys() == gradients.keys()
    scale = max(np.abs(array).max() for array in gradients.values())
    for name, array in gradients.items():
        close(results[name], array, tolerance, scale)

    decoder, inputs = TargetDecoder(model), [np.full(B, config.bos), *target.T]
    state = decoder.start(source, source_lengths)
    for t in range(T):  # and token by token
        at_t, _, state = decoder.step(inputs[t][:, None], state)
        close(at_t[:, 0], logits[:, t], tolerance)
