"""Many to one: gradients, padding, and whether it learns."""

import numpy as np
import pytest
from model_checks import check_model, fit

from minillm.models.classifier import POOLINGS, Classifier, ClassifierConfig

pytestmark = pytest.mark.usefixtures("both_twins")
CELLS = ("rnn", "lstm", "gru")


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
def test_gradient_of_a_classifier(pooling, bidirectional, cell):
    model = classifier(pooling=pooling, bidirectional=bidirectional, cell=cell)
    check_model(model, texts(np.random.default_rng(3)))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradient_of_mixtures(pooling, bidirectional):
    model = classifier(pooling=pooling, bidirectional=bidirectional, mixup=1.0)
    check_model(model, texts(np.random.default_rng(3)))


@pytest.mark.parametrize("frozen", [1, 2])
def test_mixtures_of_a_model_whose_lowest_layers_are_frozen(frozen):
    batch, rng = texts(np.random.default_rng(3)), np.random.default_rng
    model = classifier(mixup=1.0)
    whole = model.loss(batch, rng(2))[1]()
    model.frozen = frozen
    found = model.loss(batch, rng(2))[1]()
    assert set(whole) - set(found) == {
        name for name in whole if name.startswith(("embedding.", "layers.0.")[:frozen])
    }
    for name, gradient in found.items():
        np.testing.assert_array_equal(gradient, whole[name])


def test_mixtures_are_those_of_the_equation():
    """Against mixtures made by hand, which are the rows of another embedding."""
    model = classifier(mixup=0.5, dropout=0.0)
    ids, lengths, labels = texts(np.random.default_rng(6))
    B, T = ids.shape
    rng = np.random.default_rng(7)
    a, partners = rng.beta(0.5, 0.5), rng.permutation(B)
    E = model.params["embedding.E"]
    real = (np.arange(T) < lengths[:, None])[..., None]
    x = np.where(real, E[ids], 0)
    mixed = a * x + (1 - a) * x[partners]
    by_hand = Classifier(
        model.config, params=model.params | {"embedding.E": mixed.reshape(B * T, -1)}
    )
    rows = np.arange(B * T).reshape(B, T)
    logits, _ = by_hand.forward(rows, np.maximum(lengths, lengths[partners]))
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -np.mean(
        [a * log_p[b, labels[b]] + (1 - a) * log_p[b, labels[partners[b]]] for b in range(B)]
    )
    loss, _ = model.loss((ids, lengths, labels), np.random.default_rng(7))
    assert 0.05 < a < 0.95
    np.testing.assert_allclose(loss, expected, rtol=1e-10)


def test_without_rng_no_texts_are_mixed():
    batch = texts(np.random.default_rng(8))
    mixing, plain = classifier(mixup=1.0, dropout=0.0), classifier(dropout=0.0)
    assert mixing.loss(batch)[0] == plain.loss(batch)[0]
    assert mixing.loss(batch, np.random.default_rng(0))[0] != plain.loss(batch)[0]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_and_batch_mates_change_no_logits(pooling, bidirectional):
    model = classifier(pooling=pooling, bidirectional=bidirectional)
    ids, lengths, _ = texts(np.random.default_rng(4))
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "sum"}, "pooling must be one of"),
        ({"cell": "elman"}, "cell must be one of"),
        ({"vocabulary": 0}, "vocabulary must be at least 1"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"mixup": -0.1}, "mixup must be at least 0"),
    ],
)
def test_nonsense_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(**({"vocabulary": 5, "classes": 2} | options))
