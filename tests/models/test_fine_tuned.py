"""Pre-trained models with a new head: gradients, padding, and frozen layers."""

import numpy as np
import pytest
from model_checks import check_model, check_rows, fit, labelled_texts
from usual import originals_deep, usual_kernels

from minillm import ops
from minillm.layers.gradients import PartlyTrained
from minillm.models.bert import BERTConfig
from minillm.models.decoders import DecoderConfig
from minillm.models.encoders import EncoderConfig
from minillm.models.fine_tuned import (
    ENCODER_POOLINGS,
    ENCODERS,
    HEADS,
    FineTuned,
    FineTunedConfig,
)
from minillm.models.gpt import GPTConfig
from minillm.models.language_model import LanguageModelConfig
from minillm.models.llama import LlamaConfig
from minillm.training.trained import depths

pytestmark = pytest.mark.usefixtures("both_twins")

SIZES = {"context": 6, "layers": 2, "heads": 2, "width": 4}
CONFIGS = {
    "bert": BERTConfig(7, **SIZES, masked_words=False),
    "encoder": EncoderConfig(7, **SIZES, family="mpnet", padding=1, masked_words=False),
    "gpt": GPTConfig(7, **SIZES),
    "llama": LlamaConfig(7, **SIZES, key_heads=1, feed_forward=5),
    "decoder": DecoderConfig(7, **SIZES, key_heads=1, feed_forward=5, window=3, family="gemma3"),
    "lm": LanguageModelConfig(7, embedding=3, hidden=4, layers=2, headless=True),
}


def fine_tuned(kind, dtype=np.float64, encoder=None, **options):
    config = FineTunedConfig(kind, encoder or CONFIGS[kind], **{"classes": 3, **options})
    return FineTuned(config, np.random.default_rng(0), dtype=dtype)


@originals_deep
@pytest.mark.parametrize("pooling", ENCODER_POOLINGS)
@pytest.mark.parametrize("kind", ENCODERS)
def test_gradients(kind, pooling):
    check_model(fine_tuned(kind, pooling=pooling), labelled_texts(np.random.default_rng(3)))


@originals_deep
@pytest.mark.parametrize("head", HEADS)
def test_gradients_of_a_hidden_layer(head):
    model, batch = fine_tuned("bert", head=head), labelled_texts(np.random.default_rng(3))
    check_model(model, batch)
    logits, _ = model.forward(*batch[:2])
    model.params["head.W"] *= 2
    assert np.abs(model.forward(*batch[:2])[0] - logits).max() > 1e-3


def test_an_unknown_hidden_layer():
    with pytest.raises(ValueError, match="head: expected one of tanh, relu, gelu; found 'silu'"):
        fine_tuned("bert", head="silu")


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_backward_of_the_logits_is_that_of_the_loss(kind):
    model, batch = fine_tuned(kind), labelled_texts(np.random.default_rng(3))
    _, loss_backward = model.loss(batch)
    logits, backward = model.forward(*batch[:2])
    gradients, expected = backward(ops.cross_entropy(logits, batch[2])[1]()), loss_backward()
    assert gradients.keys() == expected.keys() == model.params.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-12, atol=1e-15)


def test_label_smoothing_is_in_training_alone():
    batch = labelled_texts(np.random.default_rng(3))
    plain, smoothed = (fine_tuned("bert", label_smoothing=e, dropout=0.0) for e in (0.0, 0.3))
    assert plain.loss(batch)[0] == smoothed.loss(batch)[0]
    logits, _ = smoothed.forward(*batch[:2])
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    q = np.full((4, 3), 0.1)
    q[np.arange(4), batch[2]] += 0.7
    loss, _ = smoothed.loss(batch, np.random.default_rng(0))
    np.testing.assert_allclose(loss, -(q * log_p).sum(axis=1).mean(), rtol=1e-12)
    check_model(smoothed, batch)


@pytest.mark.parametrize("pooling", ENCODER_POOLINGS)
@pytest.mark.parametrize("kind", ENCODERS)
def test_padding_and_batch_mates_change_no_logits(kind, pooling):
    check_rows(fine_tuned(kind, pooling=pooling))


@pytest.mark.parametrize("frozen", range(4))
@pytest.mark.parametrize("kind", [*ENCODERS, "one-hot", "a table"])
def test_frozen_layers_have_no_gradient_and_change_none_of_the_others(kind, frozen):
    encoder, batch = None, labelled_texts(np.random.default_rng(3))
    if kind == "one-hot":
        kind, encoder = "lm", LanguageModelConfig(7, 0, 4, layers=2, headless=True)
    elif kind == "a table":  # fewer tokens than steps: E W_x is computed first
        kind, encoder = "lm", LanguageModelConfig(3, 3, 4, layers=2, headless=True)
        batch = labelled_texts(np.random.default_rng(3), V=3)
    model = fine_tuned(kind, encoder=encoder, dropout=0.0)
    whole = model.loss(batch)[1]()
    trained = {name for name, depth in depths(model).items() if depth >= frozen}
    model.params = PartlyTrained(model.params, trained)
    part = model.loss(batch)[1]()
    assert trained <= part.keys()
    for name, gradient in part.items():
        np.testing.assert_array_equal(gradient, whole[name])
    if kind != "lm":  # a recurrent one computes all
        assert {name for name in part if name not in trained} == set()


@usual_kernels
@pytest.mark.deep
@pytest.mark.parametrize("kind", ENCODERS)
def test_it_fits_a_batch(kind):
    rng = np.random.default_rng(5)
    ids, labels = rng.integers(0, 7, (6, 6)), rng.integers(0, 3, 6)
    assert fit(fine_tuned(kind, np.float32), (ids, np.full(6, 6), labels), 150) < 0.05


@pytest.mark.parametrize("pooling", ["first", "last"])
def test_a_text_without_tokens_has_no_vector_and_no_gradient(pooling):
    hs = np.random.default_rng(0).standard_normal((2, 3, 4))
    y, backward = ENCODER_POOLINGS[pooling](hs, np.array([0, 2]))
    assert not y[0].any()
    dhs = backward(np.ones_like(y))
    assert not dhs[0].any()
    assert dhs[1].sum() == 4
