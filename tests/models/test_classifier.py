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
        ({"pooling": "sum"}, "pooling: expected one of"),
        ({"cell": "elman"}, "cell: expected one of"),
        ({"vocabulary": 0}, "vocabulary: expected 1 or more"),
        ({"dropout": 1.0}, "dropout: expected 0 or more and below 1"),
        ({"mixup": -0.1}, "mixup: expected 0 or more"),
    ],
)
def test_nonsense_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(**({"vocabulary": 5, "classes": 2} | options))


# --- convolutions, n-grams, word dropout -----------------------------------------------------


def texts_with_ngrams(rng, B=4, V=6, ngrams=8):
    """Rows of a few words, and behind them n-grams from V on; the last has no word."""
    counts = [(3, 4), (1, 2), (2, 6), (0, 1)][:B]
    ids = np.zeros((B, 8), int)
    for row, (words, grams) in enumerate(counts):
        ids[row, :words] = rng.integers(0, V, words)
        ids[row, words : words + grams] = V + rng.integers(0, ngrams, grams)
    return ids, np.array([sum(count) for count in counts]), rng.integers(0, 3, B)


@pytest.mark.parametrize("word_dropout", [0.0, 0.3])
@pytest.mark.parametrize("mixup", [0.0, 0.4])
@pytest.mark.parametrize("cell", ["cnn", "gru"])
def test_gradient_with_ngrams(cell, mixup, word_dropout):
    options = {"cell": cell, "pooling": "mean", "ngrams": 8}
    model = classifier(mixup=mixup, word_dropout=word_dropout, **options)
    check_model(model, texts_with_ngrams(np.random.default_rng(3)))


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_gradient_of_convolutions(pooling):
    check_model(classifier(cell="cnn", pooling=pooling), texts(np.random.default_rng(3)))


@pytest.mark.parametrize("cell", ["cnn", "lstm"])
def test_gradient_with_class_weights(cell):
    model = classifier(cell=cell, mixup=0.5)
    weights = np.array([0.5, 3.0, 1.0])
    check_model(model, texts(np.random.default_rng(3)), class_weights=weights)


@pytest.mark.parametrize("cell", ["cnn", "gru"])
def test_padding_and_batch_mates_change_no_logits_beside_ngrams(cell):
    model = classifier(cell=cell, ngrams=8)
    ids, lengths, _ = texts_with_ngrams(np.random.default_rng(4))
    logits, _ = model.forward(ids, lengths)
    for row, n in enumerate(lengths):
        alone, _ = model.forward(ids[row : row + 1, :n], lengths[row : row + 1])
        np.testing.assert_allclose(alone[0], logits[row], rtol=1e-10, atol=1e-12)


def test_a_bag_has_no_order_and_each_half_of_it_its_own_share():
    model = classifier(cell="cnn", pooling="mean", ngrams=8)
    model.params["output.W"][: model.config.width] = 0  # of the words nothing is seen
    lengths, V = np.array([5]), 6
    ids = np.array([[1, 2, V + 1, V + 3, V + 6]])
    logits, _ = model.forward(ids, lengths)
    turned, _ = model.forward(np.array([[4, 0, V + 6, V + 3, V + 1]]), lengths)
    np.testing.assert_allclose(turned, logits, rtol=1e-12)
    N = model.params["ngrams.N"]
    bag = (N[1] + N[3]) / np.sqrt(2) + N[6]
    expected = bag @ model.params["output.W"][model.config.width :] + model.params["output.b"]
    np.testing.assert_allclose(logits[0], expected, rtol=1e-12)


def test_word_dropout_leaves_out_words_in_training_alone():
    model = classifier(cell="cnn", pooling="mean", layers=1, dropout=0.0, word_dropout=0.5)
    ids, lengths = np.full((400, 1), 2), np.ones(400, int)
    plain, _ = model.forward(ids, lengths)
    assert (plain == plain[0]).all()
    dropped, _ = model.forward(ids, lengths, np.random.default_rng(0))
    empty = np.zeros((1, model.config.width))
    without = empty @ model.params["output.W"] + model.params["output.b"]
    gone = np.isclose(dropped, without).all(axis=1)
    assert 150 < gone.sum() < 250
    np.testing.assert_allclose(dropped[~gone], plain[~gone], rtol=1e-12)


def test_a_bag_alone_learns_what_a_word_means():
    """Each label has an n-gram of its own among many; the words are all the same."""
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 64)
    grams = rng.integers(3, 50, (64, 12))
    grams[np.arange(64), rng.integers(0, 12, 64)] = labels
    ids = np.concatenate([np.zeros((64, 2), int), 5 + grams], axis=1)
    model = classifier(np.float32, vocabulary=5, cell="cnn", hidden=3, layers=1, ngrams=100)
    assert fit(model, (ids, np.full(64, 14), labels), steps=60) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "cnn", "pooling": "last"}, "pooling: a cnn has no last state"),
        ({"ngrams": 7}, "ngrams must be even"),
        ({"ngrams": -2}, "ngrams: expected 0 or more"),
        ({"word_dropout": 1.0}, "word_dropout: expected 0 or more and below 1"),
    ],
)
def test_nonsense_of_the_new_parts_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(**({"vocabulary": 5, "classes": 2} | options))
