"""Encoders after BERT: gradients, each change, padding, and what a family may not have."""

from dataclasses import replace

import numpy as np
import pytest
from model_checks import check_model
from usual import originals_deep

from minillm.data.masking import Masking, framed
from minillm.layers.gradients import PartlyTrained
from minillm.layers.stack import forgetful
from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoders import FAMILIES, Encoder, EncoderConfig, buckets_of
from minillm.testing import check_projections
from minillm.training.trained import depths

pytestmark = pytest.mark.usefixtures("both_twins")
V, C = 9, 12
PAD, CLS, SEP, MASK = 1, 0, 2, 3
ORDINARY = np.arange(V) > MASK
SIZES = {"vocabulary": V, "context": C, "layers": 2, "heads": 2, "width": 6}


def new(family, seed=0, dtype=np.float64, **options):
    changes = FAMILIES[family]
    given = {"family": family, "padding": PAD, "masked_words": changes.masked_words}
    given |= {"embedding": 4} if changes.narrow else {}
    config = EncoderConfig(**SIZES | given | options)
    model = Encoder(config, np.random.default_rng(seed), dtype=dtype)
    rng = np.random.default_rng(seed + 1)
    for array in model.params.values():  # no bias is zero, no gain one, no branch negligible
        array += (0.3 * rng.standard_normal(array.shape)).astype(dtype)
    return model


def batch_of(lengths, seed=0):
    """Rows of unequal length with hidden tokens, some of them with a padding token inside."""
    rng = np.random.default_rng(seed)
    rows = [[rng.integers(4, V, length - 2)] for length in lengths]
    rows[0][0][1] = PAD
    return Masking(MASK, ORDINARY).hide(framed(rows, CLS, SEP), rng)


@originals_deep
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", [name for name in FAMILIES if FAMILIES[name].masked_words])
def test_gradient(family, dropout):
    check_model(new(family, dropout=dropout, inner=5), batch_of([12, 9, 5]))


@originals_deep
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_of_the_vectors(family):
    model, rng = new(family), np.random.default_rng(3)
    ids, lengths = rng.integers(0, V, (3, 7)), np.array([7, 4, 2])
    segments = rng.integers(0, 2, ids.shape)
    dy = rng.standard_normal((3, 7, 6)) * (np.arange(7) < lengths[:, None])[..., None]

    def loss():
        x, backward = model.hidden(ids, lengths, segments)
        return (x * dy).sum(), lambda: backward(dy)

    trunk = {n: a for n, a in model.params.items() if not n.startswith(("mask.", "pooler."))}
    assert loss()[1]().keys() == trunk.keys()
    check_projections(loss, trunk, rng=rng, miss=1e-3)


@pytest.mark.parametrize("frozen", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_layers_have_no_gradient_and_change_none_of_the_others(family, frozen):
    model, ids = new(family), np.random.default_rng(3).integers(0, V, (2, 7))
    x, backward = model.hidden(ids)
    whole = backward(np.ones_like(x))
    trained = {name for name, depth in depths(model).items() if depth >= frozen}
    model.params = PartlyTrained(model.params, trained)
    part = model.hidden(ids)[1](np.ones_like(x))
    assert part.keys() == trained & whole.keys()
    for name, gradient in part.items():
        np.testing.assert_array_equal(gradient, whole[name])


def test_without_changes_it_is_a_bert():
    """The blocks of an ELECTRA whose embeddings are as wide as the blocks are those of BERT."""
    model, ids = new("electra", embedding=None), np.random.default_rng(3).integers(0, V, (2, 7))
    config = BERTConfig(**SIZES, masked_words=False)
    lengths, segments = np.array([7, 3]), np.arange(14).reshape(2, 7) % 2
    expected, _ = BERT(config, params=model.params).hidden(ids, lengths, segments)
    np.testing.assert_array_equal(model.hidden(ids, lengths, segments)[0], expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_equals_its_rows_and_padding_changes_nothing(family):
    model, batch = new(family), batch_of([12, 4, 7, 3])
    x, _ = model.hidden(*batch[:3])
    for row, length in enumerate(batch.lengths):
        alone, _ = model.hidden(batch.ids[row : row + 1, :length])
        np.testing.assert_allclose(x[row, :length], alone[0], atol=1e-12)
    beyond = np.arange(12) >= batch.lengths[:, None]
    other, _ = model.hidden(np.where(beyond, 5, batch.ids), batch.lengths)
    np.testing.assert_array_equal(other[~beyond], x[~beyond])


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_is_the_same_without_a_backward(family):
    model, batch = new(family, dropout=0.5), batch_of([12, 4, 7])
    np.testing.assert_array_equal(
        forgetful(model).hidden(*batch[:3])[0], model.hidden(*batch[:3])[0]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_segments_count_where_there_are_several(family):
    model, ids = new(family), np.array([[0, 5, 6, 2]])
    zeros, _ = model.hidden(ids)
    ones, _ = model.hidden(ids, segments=np.ones_like(ids))
    assert (np.abs(zeros - ones).max() > 1e-3) == FAMILIES[family].segments
    one = new(family, segments=1)
    np.testing.assert_array_equal(
        one.hidden(ids, segments=np.ones_like(ids))[0], one.hidden(ids)[0]
    )


def test_positions():
    ids, positions = np.array([[0, 5, PAD, 6, 2]]), np.arange(5)[None]
    assert new("distilbert").rows_of_P(ids, positions).tolist() == [[0, 1, 2, 3, 4]]
    for family in ("roberta", "mpnet"):
        assert new(family).rows_of_P(ids, positions).tolist() == [[2, 3, 1, 4, 5]]
        model = new(family)
        assert model.params["positions.E"].shape == (C + 2, 6)
        model.hidden(np.full((1, C), 5))  # the last row of the table
        with pytest.raises(ValueError, match="expected at most 12 tokens, found 13"):
            model.hidden(np.full((1, C + 1), 5))


def test_buckets():
    """By hand: 32 buckets, 16 for each direction, 8 of them with a distance each."""
    row = buckets_of(400)[0]
    assert row[:9].tolist() == [0, *range(17, 24), 24]
    column = buckets_of(400)[:, 0]
    np.testing.assert_array_equal(column[1:] + 16, row[1:])
    n = np.arange(1, 400)
    bounds = [np.flatnonzero(column >= bucket)[0] for bucket in range(9, 16)]
    # The smallest whole numbers from 8 (128 / 8)^(k / 8) = 8 2^(k / 2) on.
    assert bounds == [int(np.ceil(8 * 2 ** (k / 2))) for k in range(1, 8)]
    assert column[n].max() == 15
    assert (np.diff(column) >= 0).all()
    np.testing.assert_array_equal(np.diagonal(buckets_of(400), 30), row[30])


def test_the_bias_is_shared_and_depends_on_the_distance():
    model, ids = new("mpnet"), np.random.default_rng(3).integers(4, V, (1, 9))
    x, _ = model.hidden(ids)
    model.params["relative.E"] += 3.0  # the same number for all keys
    np.testing.assert_allclose(model.hidden(ids)[0], x, atol=1e-12)
    model.params["relative.E"][0, 0] += 3.0  # of the key at the query's own position
    assert np.abs(model.hidden(ids)[0] - x).max() > 1e-3


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (
            "bert",
            {},
            "family: expected one of distilbert, roberta, xlm-roberta, mpnet, electra; found ",
        ),
        ("roberta", {"embedding": 3}, "embedding: expected none in family roberta, found 3"),
        ("electra", {}, "masked_words: expected none in family electra, found True"),
        ("mpnet", {"eps": 0.0}, "eps: expected a finite number above 0, found 0.0"),
        ("mpnet", {"padding": -1}, "padding: expected 0 or more, found -1"),
    ],
)
def test_what_a_family_has_not(family, changes, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        EncoderConfig(**SIZES, family=family, **changes)


def test_eps_counts():
    for model in (new("roberta"), new("electra")):
        ids = np.array([[0, 5, 6, 2]])
        x, _ = model.hidden(ids)
        model.config = replace(model.config, eps=0.1)
        assert np.abs(model.hidden(ids)[0] - x).max() > 1e-3
