"""One to many: gradients, padding, and a task."""

import numpy as np
import pytest
from model_checks import check_model, fit
from usual import usual_kernels

from minillm.decoding import beam_search
from minillm.decoding.decoder import TargetDecoder, select
from minillm.models.captioner import Captioner, CaptionerConfig

pytestmark = pytest.mark.usefixtures("both_twins")
CELLS = ("rnn", "lstm", "gru")


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_of_a_captioner(cell):
    rng = np.random.default_rng(8)
    model = Captioner(CaptionerConfig(5, 4, 3, 4, cell), rng, dtype=np.float64)
    lengths = np.array([4, 2, 3])
    batch = rng.standard_normal((3, 5)), rng.integers(0, 5, (3, 4)), lengths
    check_model(model, batch)
    changed = batch[1].copy()
    changed[np.arange(4) >= lengths[:, None]] = 0  # what stands past a caption's end
    assert model.loss(batch)[0] == model.loss((batch[0], changed, lengths))[0]


@usual_kernels
@pytest.mark.deep
@pytest.mark.parametrize("cell", CELLS)
def test_a_captioner_learns_its_captions_by_heart(cell):
    rng = np.random.default_rng(9)
    images = rng.standard_normal((4, 6)).astype(np.float32)
    eos, captions = 3, [[0, 1], [2, 2, 1], [], [1, 0, 2, 0]]
    target, lengths = np.zeros((4, 5), int), np.array([len(c) + 1 for c in captions])
    for row, caption in enumerate(captions):
        target[row, : len(caption) + 1] = [*caption, eos]
    model = Captioner(CaptionerConfig(6, 3, 8, 24, cell), rng)
    assert fit(model, (images, target, lengths), steps=300) < 0.03
    for beam in (1, 3):
        results = beam_search(model, images, lengths, beam, limit=9, length_exponent=0)
        assert [hypotheses[0].ids for hypotheses in results] == captions


@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_whole_caption_for_each_hypothesis(cell):
    rng = np.random.default_rng(10)
    model = Captioner(CaptionerConfig(5, 4, 3, 4, cell), rng, dtype=np.float64)
    images, captions = rng.standard_normal((3, 5)), rng.integers(0, 5, (3, 4))
    loss, _ = model.loss((images, captions, np.full(3, 4)))
    decoder = TargetDecoder(model)
    state = select(decoder.start(images), np.arange(3), np.zeros((3, 2), int))
    ids, nats = np.full((3, 2), model.config.bos), 0.0
    for t in range(4):
        logits, weights, state = decoder.step(ids, state)
        assert weights is None
        np.testing.assert_array_equal(logits[:, 0], logits[:, 1])
        log_p = logits[:, 0] - np.log(np.exp(logits[:, 0]).sum(axis=1, keepdims=True))
        nats -= log_p[np.arange(3), captions[:, t]].sum()
        ids = np.repeat(captions[:, t, None], 2, axis=1)
    assert nats / 12 == pytest.approx(loss, rel=1e-10)
