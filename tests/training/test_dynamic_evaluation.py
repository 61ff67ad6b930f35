"""Dynamic evaluation: what is learned, when, and by which steps."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.training import dynamic_evaluation
from minillm.training.dynamic_evaluation import WINDOW, adapt, default_rate
from minillm.training.language_model import token_losses

V, CONTEXT = 11, 12
MODELS = {
    "lstm": (LanguageModel, LanguageModelConfig(V, embedding=6, hidden=12, cell="lstm")),
    "min_gru": (
        LanguageModel,
        LanguageModelConfig(V, embedding=0, hidden=12, layers=2, cell="min_gru"),
    ),
    "mamba": (Mamba, MambaConfig(V, layers=2, width=8)),
    "neural-ngram": (NeuralNGram, NeuralNGramConfig(V, order=4, embedding=6, hidden=12)),
    "gpt": (GPT, GPTConfig(V, layers=2, heads=2, width=8, context=CONTEXT)),
    "llama": (Llama, LlamaConfig(V, layers=2, heads=2, width=8, context=CONTEXT)),
}


def model_of(name):
    Model, config = MODELS[name]
    return Model(config, np.random.default_rng(0))


def text(length, seed=1):
    return np.random.default_rng(seed).integers(0, V, length).astype(np.int32)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("t", [1, 33, 70, 99])
def test_no_token_is_scored_after_it_was_learned(name, t):
    ids = text(100)
    other = ids.copy()
    other[t] = (other[t] + 1) % V
    losses, changed = (adapt(model_of(name), read, 0.01).losses for read in (ids, other))
    score = t - 1  # the first token has no score
    assert np.array_equal(losses[:score], changed[:score])
    assert losses[score] != changed[score]
    last = 96  # the first score of the last window, whose context does not reach back to 70
    if t <= 70:
        assert not np.array_equal(losses[last:], changed[last:])


@pytest.mark.parametrize("name", MODELS)
def test_the_progress_counts_every_token(name, monkeypatch):
    bars = []

    def bar(*args, quiet, **options):
        bars.append(SimpleNamespace(total=args[2], n=0, quiet=quiet))
        return nullcontext(SimpleNamespace(update=lambda n: setattr(bars[-1], "n", bars[-1].n + n)))

    monkeypatch.setattr(dynamic_evaluation, "progress_bar", bar)
    adapt(model_of(name), text(100), quiet=False)
    assert vars(bars[0]) == {"total": 99, "n": 99, "quiet": False}


@pytest.mark.parametrize("name", MODELS)
def test_a_window_is_learned_before_the_next_is_scored(name):
    model, ids = model_of(name), text(100)
    first = CONTEXT if name in ("gpt", "llama") else WINDOW
    still, learning = (adapt(model, ids, rate).losses for rate in (0.0, 0.01))
    assert np.array_equal(still[:first], learning[:first])
    assert still[first] != learning[first]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length", [2, 33, 100])
def test_without_steps_it_is_the_plain_evaluation(name, length):
    model, ids = model_of(name), text(length)
    adapted = adapt(model, ids, 0.0)
    losses = token_losses(model, ids, 1, WINDOW)
    assert adapted.losses.shape == (length - 1,) == losses.shape
    assert adapted.losses.mean() == pytest.approx(losses.mean(), rel=1e-6)
    for weight, p in model.params.items():
        assert np.array_equal(p, adapted.model.params[weight])


@pytest.mark.parametrize("name", MODELS)
def test_a_copy_learns(name):
    model, ids = model_of(name), text(100)
    before = {weight: p.copy() for weight, p in model.params.items()}
    adapted = adapt(model, ids, 0.01).model
    assert type(adapted) is type(model)
    assert adapted.config == model.config
    for weight, p in model.params.items():
        assert np.array_equal(p, before[weight])
        assert not np.shares_memory(p, adapted.params[weight])
    assert any(not np.array_equal(p, before[weight]) for weight, p in adapted.params.items())


@pytest.mark.parametrize("name", ["lstm", "gpt"])
def test_a_text_that_repeats_itself_is_learned(name):
    model, ids = model_of(name), np.tile(text(9), 60)
    plain, adapted = (adapt(model, ids, rate).losses for rate in (0.0, 0.01))
    assert adapted.mean() < plain.mean() - 0.1
    assert adapted[-60:].mean() < adapted[:60].mean() - 0.2


def test_wider_models_take_smaller_steps():
    assert default_rate(model_of("lstm")) == pytest.approx(0.3 / 12)
    for name, rate in (("mamba", 0.04), ("gpt", 0.013), ("llama", 0.013)):
        assert default_rate(model_of(name)) == pytest.approx(rate / 8)
    model, ids = model_of("gpt"), text(100)
    losses = [adapt(model, ids, rate).losses for rate in (None, 0.013 / 8)]
    assert np.array_equal(*losses)


def test_the_step():
    """W_j - rate g_j / r_j, where r_j is the root of the mean of g_j^2, recent ones most."""
    model, ids, rate, beta2 = model_of("lstm"), text(2 * WINDOW + 1), 0.01, 0.999
    state, squares = model.zero_state(1), {}
    expected = model_of("lstm")
    for step in range(2):
        span = ids[step * WINDOW : (step + 1) * WINDOW + 1][None]
        (_, state), backward = expected.window_loss(span[:, :-1], span[:, 1:], state)
        for name, g in backward().items():
            squares[name] = beta2 * squares.get(name, 0) + (1 - beta2) * g**2
            r = np.sqrt(squares[name] / (1 - beta2 ** (step + 1)))
            expected.params[name] -= rate * g / (r + 1e-8)
    adapted = adapt(model, ids, rate).model
    for name, p in expected.params.items():
        assert adapted.params[name] == pytest.approx(p, rel=1e-3, abs=1e-5)
