"""Low-rank additions: their gradients, what is merged, what stays."""

import numpy as np
import pytest
from model_table import CAUSAL, WINDOWS, C, Entry, V, lm, tuned, windows
from usual import originals_deep

from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised import quantise
from minillm.training import AdamW
from minillm.training.lora import LoRA, new_additions
from minillm.training.trained import Trained

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]

TARGETS = {
    "gpt": ["blocks.0.attention.W_qkv", "blocks.1.feed_forward.W_2", "embedding.E"],
    "llama": ["blocks.0.attention.W_qkv", "blocks.1.feed_forward.W_gate_up", "output.W"],
    "lm": ["layers.0.W_x", "layers.1.W_h", "output.W"],
    "tied": ["embedding.E", "layers.0.W_h"],
    "classifier": ["encoder.blocks.1.attention.W_o", "encoder.blocks.0.feed_forward.W_1"],
}


MODELS = {
    "gpt": CAUSAL["gpt"],
    "llama": CAUSAL["llama, untied"],
    "lm": WINDOWS["lstm"],
    "tied": lm("lstm", tied=True, dropout=0.3),
    "classifier": tuned("bert"),
}


def made(name, dtype=np.float64):
    """A small model, its batch, and additions to it none of which is zero."""
    model, batch = MODELS[name].with_batch(dtype)
    rng = np.random.default_rng(0)
    additions = new_additions(model.params, TARGETS[name], 2, rng)
    for array in additions.values():
        array[...] = 0.3 * rng.standard_normal(array.shape)
    return model, batch, additions


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("name", TARGETS)
def test_outputs_and_gradients_are_those_of_the_merged_weights(name, marked):
    """Of a model whose W' = W + s A B are plain arrays: dA = s dW' B^T, dB = s A^T dW'.

    In the layers, which ask a matrix for A and B, and from the gradients of whole weights.
    """
    model, batch, additions = made(name)
    merged = dict(model.params)
    for target in TARGETS[name]:
        A, B = additions[f"{target}.A"], additions[f"{target}.B"]
        merged[target] = merged[target] + 1.7 * A @ B
    plain = type(model)(model.config, params=merged)
    lora = LoRA(model, additions, scale=1.7)
    trained = Trained(additions, lora)
    if marked:
        trained.mark(model)
    (loss, backward), (expected, plain_backward) = (
        one.loss(batch, np.random.default_rng(2)) for one in (model, plain)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    gradients, whole = trained.gradients(backward), plain_backward()
    assert gradients.keys() == additions.keys()
    for target in TARGETS[name]:
        A, B, dW = additions[f"{target}.A"], additions[f"{target}.B"], whole[target]
        np.testing.assert_allclose(gradients[f"{target}.A"], 1.7 * dW @ B.T, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(gradients[f"{target}.B"], 1.7 * A.T @ dW, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", TARGETS)
def test_training_changes_the_additions_alone(name):
    """The frozen weights keep their bits, and what is merged is W + s A B."""
    model, batch, additions = made(name, np.float32)
    before = {name: array.copy() for name, array in model.params.items()}
    lora = LoRA(model, additions, scale=0.5)
    trained = Trained(additions, lora)
    trained.mark(model)
    optimiser = AdamW(trained.params)
    losses = []
    for _ in range(20):
        loss, backward = model.loss(batch)
        losses.append(float(loss))
        optimiser.step(trained.gradients(backward), 0.05)
        trained.merge()
    assert losses[-1] < 0.9 * losses[0]
    for key in before:
        array = getattr(model.params[key], "array", model.params[key])
        if key in TARGETS[name]:
            np.testing.assert_array_equal(lora.frozen[key], before[key])
            A, B = additions[f"{key}.A"], additions[f"{key}.B"]
            np.testing.assert_allclose(array, before[key] + 0.5 * A @ B, rtol=1e-5, atol=1e-6)
            assert not np.array_equal(array, before[key])
        else:
            np.testing.assert_array_equal(array, before[key])


def test_additions_to_quantised_weights_have_the_gradients_of_those_to_dense_ones():
    """Activations of float64 are not rounded."""
    config = LlamaConfig(V, C, layers=2, heads=2, key_heads=1, width=32, feed_forward=32)
    some, batch = Entry(Llama, config, windows).with_batch()
    rng, additions, dense = np.random.default_rng(3), {}, {}
    for name in [name for name in some.params if ".W_" in name]:
        some.params[name] = W = quantise(some.params[name].astype(np.float32), "Q8_0")
        dense[name] = W.dense().astype(np.float64)
        additions[f"{name}.A"] = 0.1 * rng.standard_normal((len(dense[name]), 2))
        additions[f"{name}.B"] = 0.1 * rng.standard_normal((2, W.shape[1]))
    plain = Llama(config, params=some.params | dense)
    ours, theirs = (
        Trained(additions, LoRA(one, additions, 2.0)).gradients(one.loss(batch)[1])
        for one in (some, plain)
    )
    assert ours.keys() == theirs.keys() == additions.keys()
    for name, gradient in ours.items():
        error = np.linalg.norm(gradient - theirs[name]) / np.linalg.norm(theirs[name])
        assert error < 1e-4, name


@pytest.mark.parametrize("name", ["gpt", "classifier"])
def test_layers_compute_no_gradient_of_a_whole_matrix(name):
    """Neither of one with an addition, nor of one that is not trained; others are as before."""
    model, batch, additions = made(name)
    whole = model.loss(batch)[1]()
    lora = LoRA(model, additions, scale=0.5)
    heads = [weight for weight in whole if weight.startswith("output.")]
    trained = Trained(additions | {weight: model.params[weight] for weight in heads}, lora)
    trained.mark(model)
    computed = model.loss(batch)[1]()
    assert trained.gradients(lambda: computed).keys() == {*additions, *heads}
    matrices = {weight for weight in computed if weight.rpartition(".")[2].startswith("W_")}
    assert matrices == set()


def test_gradients_that_do_not_fit_are_refused():
    model, _, additions = made("gpt")
    lora, E = LoRA(model, additions, 1.0), "embedding.E"  # (7, 8)
    for shape in ((7, 5), (700, 8)):
        with pytest.raises(ValueError, match="expected shape"):
            lora.gradients({E: np.ones(shape)})
    lora.params[f"{E}.B"] = np.ones((3, 8))
    with pytest.raises(ValueError, match="expected shape"):
        lora.merge()
