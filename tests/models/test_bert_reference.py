"""BERT against transformers: stored results (make_frozen_bert.py) and, where it is installed,
random models."""

from pathlib import Path

import numpy as np
import pytest
from usual import originals_deep

from minillm.data.masking import MaskedBatch
from minillm.models.bert import BERT, BERTConfig

from .make_frozen_bert import SIZES, case

FROZEN = np.load(Path(__file__).with_name("frozen_bert.npz"))

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]


def entries(role):
    return {k.removeprefix(role): FROZEN[k] for k in FROZEN.files if k.startswith(role)}


def check(model, batch, expected, tolerance):
    """Logits, hidden states, pooled vectors, loss and gradients."""
    logits, hidden, pooled, loss, gradients = expected
    x, _ = model.hidden(*batch[:3])
    real = np.arange(x.shape[1]) < batch.lengths[:, None]
    own_pooled, _ = model.pool(x)
    for ours, other in (
        (x[real], hidden[real]),
        (model.masked_words(x[batch.places])[0], logits),
        (own_pooled, pooled),
    ):
        np.testing.assert_allclose(ours, other, atol=tolerance * np.abs(other).max(), rtol=0)
    own_loss, backward = model.loss(batch)
    assert own_loss == pytest.approx(float(loss), rel=tolerance)
    results = backward()
    assert results.keys() == gradients.keys()
    scale = max(np.abs(array).max() for array in gradients.values())
    for name, array in gradients.items():
        bound = max(tolerance, 1e-7 if array.dtype == np.float32 else 0) * scale
        np.testing.assert_allclose(results[name], array, atol=bound, rtol=0, err_msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 1e-5)])
def test_frozen(dtype, tolerance):
    params = {name: array.astype(dtype) for name, array in entries("weight/").items()}
    model = BERT(BERTConfig(**SIZES, pooler=True), params=params)
    expected = [FROZEN[name] for name in ("logits", "hidden", "pooled", "loss")]
    batch = MaskedBatch(**entries("batch/"))
    check(model, batch, (*expected, entries("gradient/")), tolerance)


@pytest.mark.deep  # importing transformers takes three seconds
def test_transformers():
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    import transformers_reference

    model, batch = case(seed=1)
    check(model, batch, transformers_reference.bert(model.config, model.params, batch), 1e-11)
