"""Tasks of language models: resumed, validated, and what they hold in memory."""

import tracemalloc

import numpy as np
import parallel_job
import pytest

from minillm.errors import InputError
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.training import AdamW, Options, train
from minillm.training.language_model import LanguageModelTask, token_losses

V = 11


def make_task(cell="lstm", seed=0, dropout=0.3, batch=3, window=7):
    config = LanguageModelConfig(V, embedding=5, hidden=6, layers=2, cell=cell, dropout=dropout)
    model = LanguageModel(config, np.random.default_rng(seed))
    ids = np.random.default_rng(9).integers(0, V, 400)
    return LanguageModelTask(model, ids[:300], ids[300:], batch, window)


RESUMED = [*parallel_job.TASKS, lambda: parallel_job.gpt(dropout=0.3)]


@pytest.mark.parametrize("make", RESUMED)
def test_a_restored_task_goes_on_with_the_same_bits(make):
    """Every kind of task, after its state was written and read."""
    one, other = make(), make()
    for _ in range(3):
        one.training_loss(np.random.default_rng(0))
    arrays, values = one.state()
    other.restore({name: array.copy() for name, array in arrays.items()}, values)
    for seed in (5, 6):
        results = [task.training_loss(np.random.default_rng(seed)) for task in (one, other)]
        assert results[0][0] == results[1][0]
        grads = [backward() for _, backward, _ in results]
        assert all(np.array_equal(grads[0][name], grads[1][name]) for name in grads[0])


def test_a_damaged_state_is_named():
    task = make_task()
    arrays, values = task.state()
    with pytest.raises(InputError, match=r"layers\.1\.c"):
        task.restore({n: a for n, a in arrays.items() if n != "layers.1.c"}, values)
    with pytest.raises(InputError, match=r"expected float32 \(3, 6\), found float32 \(4, 6\)"):
        task.restore(make_task(batch=4).state()[0], values)


@pytest.mark.parametrize("id", [-1, V, 2**62])
def test_a_state_with_ids_that_the_model_lacks_is_named(id):
    model = NeuralNGram(NeuralNGramConfig(V, 4, embedding=3, hidden=5), np.random.default_rng(0))
    ids = np.random.default_rng(9).integers(0, V, 400)
    task = LanguageModelTask(model, ids[:300], ids[300:], 3, 7)
    arrays, values = task.state()
    damaged = {name: array.copy() for name, array in arrays.items()}
    damaged["context"][1, 0] = id
    with pytest.raises(ValueError, match="context: expected ids from 0 to 10"):
        task.restore(damaged, values)


def test_evaluation_equals_one_window_over_the_whole_text():
    task = make_task()
    ids = np.random.default_rng(2).integers(0, V, 60)
    losses = token_losses(task.model, ids, batch=1, window=7)
    whole, _ = task.model.loss((ids[None, :-1], ids[None, 1:]))
    assert len(losses) == 59
    assert losses.mean() == pytest.approx(float(whole), rel=1e-5)


def test_validation_changes_nothing():
    one, other = make_task(), make_task()
    rngs = [np.random.default_rng(1) for _ in range(2)]
    for _ in range(2):
        losses = [t.training_loss(r)[0] for t, r in zip((one, other), rngs, strict=True)]
        assert one.validation_loss() == one.validation_loss()
        assert losses[0] == losses[1]


def test_texts_that_are_too_short():
    model = make_task().model
    ids = np.zeros(20, int)
    with pytest.raises(InputError, match="one window of 20 tokens, found 20"):
        LanguageModelTask(model, ids, ids, 2, 20)
    with pytest.raises(InputError, match="validation text: expected 2 tokens or more, found 1"):
        LanguageModelTask(model, ids, ids[:1], 2, 10)


def test_memory_stays_within_three_times_what_it_needs():
    B, T, D, H = 8, 64, 32, 96
    config = LanguageModelConfig(vocabulary=60, embedding=D, hidden=H)
    model = LanguageModel(config, np.random.default_rng(0))
    ids = np.random.default_rng(0).integers(0, 60, 5000).astype(np.int32)
    task = LanguageModelTask(model, ids[:4500], ids[4500:], B, T)

    def run(steps):
        optimiser = AdamW(model.params)
        rng = np.random.default_rng(0)
        train(model.params, optimiser, task, Options(steps=steps, validations=2), rng, quiet=True)

    run(1)  # imports what training imports
    params = sum(p.nbytes for p in model.params.values())
    activations = 4 * B * T * (D + 4 * H + H + H + 60)  # x, gates, cells, outputs, logits
    peaks = []
    for steps in (3, 12):
        tracemalloc.start()
        run(steps)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) + params < 3 * (activations + 3 * params)
    assert peaks[1] < 1.05 * peaks[0]
