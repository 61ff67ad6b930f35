"""One to one, one to many, many to one: gradients, padding, and whether they learn."""

import numpy as np
import pytest

from minillm import use_kernels
from minillm.beam import beam_search
from minillm.models.captioner import Captioner, CaptionerConfig
from minillm.models.classifier import POOLINGS, Classifier, ClassifierConfig
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.testing import check_projections
from minillm.training import Adam

CELLS = ("rnn", "lstm", "gru")


def check(model, batch, kernels):
    rng = np.random.default_rng(1)
    for name, parameter in model.params.items():
        if parameter.ndim == 1:  # biases that are zero hide mistakes
            model.params[name] = 0.5 * rng.standard_normal(parameter.shape)
    with use_kernels(kernels):
        check_projections(
            lambda: model.loss(batch, np.random.default_rng(2)), model.params, rng=rng
        )


def fit(model, batch, steps, learning_rate=0.01):
    optimiser = Adam(model.params)
    for _ in range(steps):
        _, backward = model.loss(batch)
        optimiser.step(backward(), learning_rate)
    return float(model.loss(batch)[0])


# --- many to one --------------------------------------------------------------------


def classifier(dtype=np.float64, **options):
    config = ClassifierConfig(
        **{"vocabulary": 6, "classes": 3, "embedding": 3, "hidden": 4, "layers": 2, **options}
    )
    return Classifier(config, np.random.default_rng(0), dtype=dtype)


def texts(rng, B=4, T=5, V=6):
    lengths = rng.integers(1, T + 1, B)
    lengths[0] = T
    return rng.integers(0, V, (B, T)), lengths, rng.integers(0, 3, B)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradient_of_a_classifier(kernels, pooling, bidirectional, cell):
    model = classifier(pooling=pooling, bidirectional=bidirectional, cell=cell)
    check(model, texts(np.random.default_rng(3)), kernels)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_and_batch_mates_change_no_logits(kernels, pooling, bidirectional):
    model = classifier(pooling=pooling, bidirectional=bidirectional)
    ids, lengths, _ = texts(np.random.default_rng(4))
    with use_kernels(kernels):
        logits, _ = model.forward(ids, lengths)
        for row, n in enumerate(lengths):
            alone, _ = model.forward(ids[row : row + 1, :n], lengths[row : row + 1])
            np.testing.assert_allclose(alone[0], logits[row], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_classifier_finds_the_one_word_that_matters(pooling):
    """The label is which of three words occurs, somewhere among others."""
    rng = np.random.default_rng(5)
    ids, labels = rng.integers(3, 20, (64, 12)), rng.integers(0, 3, 64)
    ids[np.arange(64), rng.integers(0, 12, 64)] = labels
    model = classifier(
        np.float32, vocabulary=20, embedding=16, hidden=16, layers=1, pooling=pooling
    )
    assert fit(model, (ids, np.full(64, 12), labels), steps=60) < 0.05


# --- one to one -----------------------------------------------------------------------


def test_gradient_of_an_image_classifier(kernels):
    rng = np.random.default_rng(6)
    model = ImageClassifier(ImageClassifierConfig(5, 3, hidden=4), rng, dtype=np.float64)
    check(model, (rng.standard_normal((4, 5)), rng.integers(0, 3, 4)), kernels)


def test_an_image_classifier_learns_what_no_linear_one_can():
    images = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    config = ImageClassifierConfig(2, 2, hidden=16)
    model = ImageClassifier(config, np.random.default_rng(7))
    assert fit(model, (images, np.array([0, 1, 1, 0])), steps=200) < 0.05


# --- one to many ----------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_of_a_captioner(kernels, cell):
    rng = np.random.default_rng(8)
    model = Captioner(CaptionerConfig(5, 4, 3, 4, cell), rng, dtype=np.float64)
    lengths = np.array([4, 2, 3])
    batch = rng.standard_normal((3, 5)), rng.integers(0, 5, (3, 4)), lengths
    check(model, batch, kernels)
    changed = batch[1].copy()
    changed[np.arange(4) >= lengths[:, None]] = 0  # what stands past a caption's end
    assert model.loss(batch)[0] == model.loss((batch[0], changed, lengths))[0]


@pytest.mark.parametrize("cell", CELLS)
def test_a_captioner_learns_its_captions_by_heart(cell):
    rng = np.random.default_rng(9)
    images = rng.standard_normal((4, 6)).astype(np.float32)
    border, captions = 3, [[0, 1], [2, 2, 1], [], [1, 0, 2, 0]]
    target, lengths = np.zeros((4, 5), int), np.array([len(c) + 1 for c in captions])
    for row, caption in enumerate(captions):
        target[row, : len(caption) + 1] = [*caption, border]
    model = Captioner(CaptionerConfig(6, 3, 8, 24, cell), rng)
    assert fit(model, (images, target, lengths), steps=300) < 0.03
    for beam in (1, 3):
        found = beam_search(model, images, lengths, beam, limit=9, length_exponent=0)
        assert [hypotheses[0].ids for hypotheses in found] == captions


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (ClassifierConfig, {"vocabulary": 5, "classes": 2, "pooling": "sum"}, "pooling must be"),
        (ClassifierConfig, {"vocabulary": 5, "classes": 2, "cell": "elman"}, "cell must be"),
        (ClassifierConfig, {"vocabulary": 0, "classes": 2}, "vocabulary must be at least 1"),
        (CaptionerConfig, {"points": 5, "vocabulary": 2, "cell": "elman"}, "cell must be"),
        (CaptionerConfig, {"points": 5, "vocabulary": 2, "dropout": 1.0}, "dropout must lie in"),
        (ImageClassifierConfig, {"points": 5, "classes": 0}, "classes must be at least 1"),
    ],
)
def test_nonsense_sizes_are_refused(config, options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)
