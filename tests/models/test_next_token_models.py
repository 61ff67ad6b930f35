"""The shared interface of language models: reading a text in pieces, with a state between them."""

import numpy as np
import pytest

from minillm.decoding import Reader
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.models.ngram import NGramConfig, count_ngrams, estimate
from minillm.runs.folder import RunFolder
from minillm.training import AdamW, Options, restore_checkpoint, save_checkpoint, train
from minillm.training.language_model import LanguageModelTask, token_losses
from minillm.training.loop import Summary

pytestmark = pytest.mark.usefixtures("both_twins")
V, T = 6, 7


def recurrent(cell, **options):
    config = LanguageModelConfig(**{"vocabulary": V, "embedding": 4, "hidden": 4} | options)
    return LanguageModel(config, np.random.default_rng(0), dtype=np.float64)


def neural(order, **options):
    config = NeuralNGramConfig(V, order, embedding=3, hidden=5, **options)
    model = NeuralNGram(config, np.random.default_rng(0), dtype=np.float64)
    rng = np.random.default_rng(1)
    for array in model.params.values():  # no bias and no connection is zero
        array += 0.3 * rng.standard_normal(array.shape)
    return model


def selective(**options):
    sizes = {"layers": 2, "width": 4, "inner": 6, "state": 3, "convolution": 3, "rank": 2} | options
    rng = np.random.default_rng(1)
    model = Mamba(MambaConfig(V, **sizes), np.random.default_rng(0), dtype=np.float64)
    for array in model.params.values():
        array += 0.3 * rng.standard_normal(array.shape)
    return model


def counted(order, line_end):
    """Make a model for a random text; token 2 ends its lines, if it has any."""
    text = np.random.default_rng(2).integers(0, V, 300).astype(np.int32)
    if line_end is not None:  # the start of a sentence, V, after each
        text = np.concatenate([[V], np.insert(text, np.flatnonzero(text == line_end) + 1, V)])
    levels = count_ngrams(text.astype(np.int32), order, V)
    return estimate(levels, NGramConfig(V, order, line_end=line_end))


DIFFERENTIABLE = {
    "rnn": lambda: recurrent("rnn", layers=2),
    "lstm": lambda: recurrent("lstm", layers=2),
    "gru, tied": lambda: recurrent("gru", tied=True),
    "lstm, one-hot": lambda: recurrent("lstm", embedding=0),
    "neural 2-gram": lambda: neural(2),
    "neural 4-gram": lambda: neural(4),
    "neural 4-gram with dropout": lambda: neural(4, dropout=0.4),
    "mamba": lambda: selective(),
    "mamba, untied": lambda: selective(tied=False, convolution=2),
}
MODELS = DIFFERENTIABLE | {
    "1-gram": lambda: counted(1, None),
    "3-gram": lambda: counted(3, None),
    "4-gram of lines": lambda: counted(4, 2),
}
differentiable = pytest.mark.parametrize("name", DIFFERENTIABLE)
every_model = pytest.mark.parametrize("name", MODELS)


def step_by_step(model, ids):
    """Logits (B, T, V), and the state after each step."""
    reader, logits, states = Reader(model), [], []
    state = reader.zero_state(len(ids))
    for t in range(ids.shape[1]):
        step_logits, state = reader.read(ids[:, t : t + 1], state)
        logits.append(step_logits)
        states.append(state)
    return np.stack(logits, axis=1), states


def assert_equal_states(one, other):
    assert one.keys() == other.keys()
    for name, entry in one.items():
        assert entry.dtype == other[name].dtype
        np.testing.assert_allclose(other[name], entry, rtol=1e-10, atol=1e-12)


@every_model
def test_reading_at_once_equals_step_by_step_at_any_split(name):
    model, ids = MODELS[name](), np.random.default_rng(3).integers(0, V, (3, T))
    reader, (logits, states) = Reader(model), step_by_step(model, ids)
    for split in range(1, T + 1):
        first, state = reader.read(ids[:, :split], reader.zero_state(3))
        np.testing.assert_allclose(first, logits[:, split - 1], rtol=1e-10, atol=1e-12)
        assert_equal_states(state, states[split - 1])
        if split < T:
            second, state = reader.read(ids[:, split:], state)
            np.testing.assert_allclose(second, logits[:, -1], rtol=1e-10, atol=1e-12)
            assert_equal_states(state, states[-1])


@every_model
def test_a_state_is_a_dictionary_of_arrays_with_a_row_for_each_text(name):
    model, ids = MODELS[name](), np.random.default_rng(4).integers(0, V, (3, T))
    reader, (logits, states) = Reader(model), step_by_step(model, ids)
    for b in range(3):
        rows = {key: entry[b : b + 1] for key, entry in states[3].items()}
        alone, _ = reader.read(ids[b : b + 1, 4:], rows)
        np.testing.assert_allclose(alone[0], logits[b, -1], rtol=1e-10, atol=1e-12)


@every_model
@pytest.mark.parametrize("wrong", [-1, V + 1, 2**40])
def test_an_id_that_a_model_has_not_is_named(name, wrong):
    reader = Reader(MODELS[name]())
    for place in range(T):  # those that a short context leaves out, too
        ids = np.random.default_rng(6).integers(0, V, (2, T))
        ids[1, place] = wrong
        with pytest.raises(ValueError, match=rf": expected 0..\d, found .*{wrong}"):
            reader.read(ids, reader.zero_state(2))


@every_model
def test_reading_changes_neither_ids_nor_state(name):
    reader, ids = Reader(MODELS[name]()), np.random.default_rng(5).integers(0, V, (2, T))
    _, state = reader.read(ids, reader.zero_state(2))
    before = {key: entry.copy() for key, entry in state.items()}, ids.copy()
    reader.read(ids, state)
    reader.read(ids[:, :1], state)
    assert_equal_states(before[0], state)
    np.testing.assert_array_equal(before[1], ids)


@differentiable
def test_forward_predicts_what_reading_predicts(name):
    model, ids = MODELS[name](), np.random.default_rng(6).integers(0, V, (3, T))
    expected, states = step_by_step(model, ids)
    (logits, state), _ = model.forward(ids, model.zero_state(3))
    np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-12)
    assert_equal_states(state, states[-1])


@differentiable
def test_windows_in_a_row_are_one_text(name):
    model, text = MODELS[name](), np.random.default_rng(7).integers(0, V, (2, T + 2))
    whole, _ = model.loss((text[:, :-1], text[:, 1:]))
    state, total = model.zero_state(2), 0.0
    for start, stop in ((0, 1), (1, 5), (5, T + 1)):
        window, targets = text[:, start:stop], text[:, start + 1 : stop + 1]
        (loss, state), _ = model.window_loss(window, targets, state)
        total += loss * targets.size
    assert total / text[:, 1:].size == pytest.approx(whole)


@pytest.mark.parametrize(
    "name", ["gru, tied", "neural 2-gram", "neural 4-gram with dropout", "mamba"]
)
def test_one_task_trains_them_and_resumes_with_the_same_bits(name, tmp_path):
    ids = np.random.default_rng(10).integers(0, V, 300)

    def new_task():
        model = MODELS[name]()
        return model, AdamW(model.params), LanguageModelTask(model, ids[:200], ids[200:], 3, 5)

    def go_on(model, optimiser, task, steps, rng):
        options = Options(steps=steps, validations=1)
        return train(model.params, optimiser, task, options, rng, quiet=True)

    rng = np.random.default_rng(11)
    model, optimiser, task = new_task()
    go_on(model, optimiser, task, 4, rng)
    save_checkpoint(RunFolder(tmp_path), model.params, optimiser, task, rng, Summary(step=4))
    other, other_optimiser, other_task = new_task()
    other_rng = np.random.default_rng(0)
    restore_checkpoint(RunFolder(tmp_path), other.params, other_optimiser, other_task, other_rng)
    for run in (
        (model, optimiser, task, 3, rng),
        (other, other_optimiser, other_task, 3, other_rng),
    ):
        go_on(*run)
    for key, parameter in model.params.items():
        np.testing.assert_array_equal(other.params[key], parameter)
    assert 0 < token_losses(model, ids, 2, 5).mean() < 2 * np.log(V)
