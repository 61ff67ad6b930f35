"""The hybrid of the gated delta rule and attention: gradients, causality, and what it stores."""

import numpy as np
import pytest
from model_checks import check_model
from usual import originals_deep, usual_kernels

from minillm import ops
from minillm.models.gated_delta_net import GatedDeltaNet, GatedDeltaNetConfig
from minillm.training import AdamW, clip_global_norm

pytestmark = pytest.mark.usefixtures("both_twins")
TINY = {"vocabulary": 7, "context": 12, "layers": 5, "heads": 2, "width": 8}


def new(dtype=np.float64, **options):
    return GatedDeltaNet(
        GatedDeltaNetConfig(**TINY | options), np.random.default_rng(0), dtype=dtype
    )


@originals_deep
def test_the_gradient_of_every_weight():
    model, ids = new(), np.random.default_rng(1).integers(0, 7, (2, 10))
    assert sum("attention.W_qkv" in name for name in model.params) == 1  # of five layers
    check_model(model, (ids[:, :-1], ids[:, 1:]))


def test_later_tokens_never_change_earlier_logits():
    model, ids = new(), np.random.default_rng(1).integers(0, 7, (2, 10))
    changed = ids.copy()
    changed[:, 6:] = (changed[:, 6:] + 1) % 7
    one, other = model.forward(ids)[0], model.forward(changed)[0]
    np.testing.assert_array_equal(one[:, :6], other[:, :6])
    assert (one[:, 6:] != other[:, 6:]).any(axis=-1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads"),
        ({"eps": 0.0}, "eps"),
        ({"context": 1}, "context"),
        ({"feed_forward": 0}, "feed_forward"),
    ],
)
def test_sizes_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=f"^{message}: expected"):
        new(**options)


def test_more_tokens_than_the_context():
    with pytest.raises(ValueError, match="expected at most 12 tokens, found 13"):
        new().forward(np.zeros((1, 13), np.int64))


def test_a_key_that_comes_again_is_answered_with_its_new_value():
    """With keys of length 1, alpha = beta = 1: S^T k is the last value that was written to k."""
    k = np.array([[1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    v = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    ones = np.ones((1, 1, 3))
    (o, _), _ = ops.gated_delta_rule(
        k[None, None], k[None, None], v[None, None], ones, ones, np.zeros((1, 1, 2, 2))
    )
    np.testing.assert_allclose(o[0, 0], v, rtol=1e-12)


@pytest.mark.deep
@usual_kernels
def test_it_learns_to_look_up():
    """Pairs of a key and a value, then a key: its value follows, which a bigram cannot know."""
    rng = np.random.default_rng(0)
    model = new(np.float32, vocabulary=8, context=8, layers=3, width=32)
    optimiser, losses = AdamW(model.params), []
    for _ in range(400):
        keys = rng.permuted(np.tile(np.arange(4), (32, 1)), axis=1)[:, :3]
        values = rng.integers(4, 8, (32, 3))
        asked = rng.integers(0, 3, 32)
        rows = np.arange(32)
        pairs = np.stack([keys, values], axis=2).reshape(32, 6)
        ids = np.concatenate([pairs, keys[rows, asked][:, None]], axis=1)
        logits, backward = model.forward(ids)
        loss, loss_backward = ops.cross_entropy(logits[:, -1], values[rows, asked])
        dlogits = np.zeros_like(logits)
        dlogits[:, -1] = loss_backward()
        gradients = backward(dlogits)
        clip_global_norm(gradients, 1.0)
        optimiser.step(gradients, 5e-3)
        losses.append(float(loss))
    assert np.mean(losses[-20:]) < 0.6 < 1.2 < np.mean(losses[:10])
