"""The steps of copying models: log P of the vocabulary and of the words of the sources."""

import numpy as np
import pytest
from model_table import pairs_to_copy

from minillm.decoding import TargetDecoder, beam_search
from minillm.decoding.decoder import select
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig

pytestmark = pytest.mark.usefixtures("both_twins")
V = 6


def small(dtype=np.float64):
    config = PointerGeneratorConfig(V, embedding=4, hidden=5, layers=2)
    model = PointerGenerator(config, np.random.default_rng(0), dtype=dtype)
    model.params["output.b"] += np.random.default_rng(1).standard_normal(V + 1)
    model.params["attention.W"] *= 3  # fresh weights attend nearly uniformly
    return model


def test_a_word_is_copied_from_its_own_source_alone():
    decoder = TargetDecoder(small())
    source = np.array([[0, V + 1, V + 2], [V + 1, 1, 0], [2, 2, V + 3]])
    state = decoder.start(source, np.array([3, 2, 2]))  # the last V + 3 is padding
    log_P, _, _ = decoder.step(np.full((3, 1), V), state)
    assert log_P.shape == (3, 1, V + 4)
    possible = np.isfinite(log_P[:, 0, V + 1 :])
    np.testing.assert_array_equal(possible, [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    log_P, _, _ = decoder.step(
        np.full((1, 1), V), select(state, np.array([1]), np.zeros((1, 1), int))
    )
    assert log_P.shape == (1, 1, V + 2)
    state = decoder.start(np.array([[1, 2, 0]]), np.array([2]))  # without a word of its own
    assert decoder.step(np.array([[V]]), state)[0].shape == (1, 1, V + 1)


@pytest.mark.parametrize("gate", [-100.0, 100.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saturated_gate_leaves_one_of_the_two(gate, dtype):
    """Nothing overflows, and log P is exact where the other is impossible."""
    model = small(dtype=dtype)
    model.params["gate.b"][:] = gate
    decoder = TargetDecoder(model)
    state = decoder.start(np.array([[1, V + 1, 1]]), np.array([3]))
    log_P, weights, _ = decoder.step(np.array([[V]]), state)
    assert log_P.dtype == dtype
    P, w = np.exp(log_P[0, 0]), weights[0, 0]
    if gate < 0:
        np.testing.assert_allclose(P[[1, V + 1]], [w[0] + w[2], w[1]], rtol=1e-5)
    else:
        assert P[: V + 1].min() > 1e-6
    assert P.sum() == pytest.approx(1, rel=1e-5)
    assert not np.isnan(log_P).any()


def test_a_beam_scores_as_the_loss_does():
    """Outputs have words that the vocabulary lacks, and that the model reads on with."""
    model = small()
    model.params["gate.b"][:] = -1
    source, lengths, _, _ = pairs_to_copy(model, np.random.default_rng(1), B=5, S=6)
    results = beam_search(model, source, lengths, beam=4, limit=6, keep_weights=True)
    copied = 0
    for b, hypotheses in enumerate(results):
        row = source[b : b + 1, : lengths[b]], lengths[b : b + 1]
        alone = beam_search(model, *row, beam=4, limit=6)[0]
        assert [h.ids for h in alone] == [h.ids for h in hypotheses]
        for h in hypotheses:
            target = np.array([[*h.ids, model.config.eos] if h.ended else h.ids])
            T = np.array([target.shape[1]])
            loss, _ = model.loss((*row, target, T))
            assert h.log_probability == pytest.approx(-float(loss) * T[0], rel=1e-10)
            assert set(h.ids) - set(range(V)) <= set(row[0][0])
            assert h.weights.shape == (T[0], source.shape[1])
            copied += sum(id > V for id in h.ids)
    assert copied > 10
