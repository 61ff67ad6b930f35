"""Encoders after BERT: gradients, each change, padding, and what a family may not have."""

from dataclasses import replace

import numpy as np
import pytest
from model_table import BLOCKS, C, V, encoder
from usual import originals_deep

from minillm.layers.stack import forgetful
from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoders import FAMILIES, buckets_of

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]
PAD = 1
every_family = pytest.mark.parametrize("family", FAMILIES)


def new(family, **options):
    return encoder(family, **options).new()


def test_without_changes_it_is_a_bert():
    """The blocks of an ELECTRA whose embeddings are as wide as the blocks are those of BERT."""
    model, ids = new("electra", embedding=None), np.random.default_rng(3).integers(0, V, (2, 7))
    config = BERTConfig(V, **BLOCKS | {"width": 6}, masked_words=False)
    lengths, segments = np.array([7, 3]), np.arange(14).reshape(2, 7) % 2
    expected, _ = BERT(config, params=model.params).hidden(ids, lengths, segments)
    np.testing.assert_array_equal(model.hidden(ids, lengths, segments)[0], expected)


@every_family
def test_reading_is_the_same_without_a_backward(family):
    model = new(family, dropout=0.5)
    batch = np.array([[0, 5, PAD, 6, 2], [0, 4, 2, 1, 1]]), np.array([5, 3])
    np.testing.assert_array_equal(forgetful(model).hidden(*batch)[0], model.hidden(*batch)[0])


@every_family
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


def test_eps_counts():
    for model in (new("roberta"), new("electra")):
        ids = np.array([[0, 5, 6, 2]])
        x, _ = model.hidden(ids)
        model.config = replace(model.config, eps=0.1)
        assert np.abs(model.hidden(ids)[0] - x).max() > 1e-3
