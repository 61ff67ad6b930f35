"""Pre-trained models with a new head: label smoothing, and texts without tokens."""

import numpy as np
import pytest
from model_checks import check_model
from model_table import labelled_texts, tuned
from usual import originals_deep

from minillm.models.fine_tuned import ENCODER_POOLINGS

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]


def test_label_smoothing_is_in_training_alone():
    plain, smoothed = (tuned("bert", label_smoothing=e, dropout=0.0).new() for e in (0.0, 0.3))
    batch = labelled_texts(plain, np.random.default_rng(3))
    assert plain.loss(batch)[0] == smoothed.loss(batch)[0]
    logits, _ = smoothed.forward(*batch[:2])
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    q = np.full((4, 3), 0.1)
    q[np.arange(4), batch[2]] += 0.7
    loss, _ = smoothed.loss(batch, np.random.default_rng(0))
    np.testing.assert_allclose(loss, -(q * log_p).sum(axis=1).mean(), rtol=1e-12)
    check_model(smoothed, batch)
    check_model(plain, batch, class_weights=np.array([0.5, 3.0, 1.0]))


@pytest.mark.parametrize("pooling", ["first", "last"])
def test_a_text_without_tokens_has_no_vector_and_no_gradient(pooling):
    hs = np.random.default_rng(0).standard_normal((2, 3, 4))
    y, backward = ENCODER_POOLINGS[pooling](hs, np.array([0, 2]))
    assert not y[0].any()
    dhs = backward(np.ones_like(y))
    assert not dhs[0].any()
    assert dhs[1].sum() == 4
