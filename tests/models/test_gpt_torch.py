"""GPT against PyTorch, where it is installed: logits, loss, and the gradient of each parameter."""

import numpy as np
import pytest

from minillm.models.gpt import GPT, GPTConfig

pytest.importorskip("torch")

import torch_reference

pytestmark = pytest.mark.usefixtures("both_twins")


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 5e-6)])
@pytest.mark.parametrize(
    ("B", "T", "layers", "heads", "width"), [(3, 9, 3, 4, 24), (1, 1, 1, 1, 5)]
)
def test_torch(dtype, tolerance, B, T, layers, heads, width):
    config = GPTConfig(vocabulary=31, context=12, layers=layers, heads=heads, width=width)
    rng = np.random.default_rng(layers)
    model = GPT(config, rng, dtype=dtype)
    for array in model.params.values():  # no bias is zero, no gain one, no branch negligible
        array += (0.2 * rng.standard_normal(array.shape)).astype(dtype)
    inputs, targets = rng.integers(0, 31, (2, B, T))
    (logits, loss), gradients = torch_reference.gpt(model.params, layers, heads, inputs, targets)
    ours, backward = model.loss((inputs, targets))
    assert ours == pytest.approx(float(loss), rel=tolerance)
    _close(model.forward(inputs)[0], logits, tolerance)
    results = backward()
    assert results.keys() == gradients.keys()
    scale = max(np.abs(array).max() for array in gradients.values())
    for name, array in gradients.items():
        np.testing.assert_allclose(
            results[name], array, atol=tolerance * scale, rtol=0, err_msg=name
        )


def _close(results, expected, tolerance):
    np.testing.assert_allclose(results, expected, atol=tolerance * np.abs(expected).max(), rtol=0)
