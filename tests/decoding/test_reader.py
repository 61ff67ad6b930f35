"""Readers and decoders are found by the class of a model, and read whatever its weights are."""

import numpy as np
import pytest
from fake_models import TinyDecoder, TinyLanguageModel
from hypothesis import given
from hypothesis import strategies as st
from usual import originals_deep, usual_kernels

from minillm import use_kernels
from minillm.decoding import CausalReader, Reader, TargetDecoder, TransformerDecoder
from minillm.decoding.decoder import RecurrentDecoder
from minillm.decoding.mamba_reader import PART, MambaReader
from minillm.decoding.recurrent import GatedConvolutionReader, NeuralNGramReader, RecurrentReader
from minillm.models.classifier import Classifier, ClassifierConfig
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.gated_convolution import GatedConvolution, GatedConvolutionConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.ops.rotary_scaling import Yarn
from minillm.testing import strategies
from minillm.training.lora import LoRA, new_additions

V = 6
SIZES = {"context": 20, "layers": 2, "heads": 2, "width": 8}
SCALED = {"rope_scaling": Yarn(4.0, 9)}
LM, PAIRS = LanguageModelConfig, EncoderDecoderConfig
OF_TEXT = {
    "gpt": (GPT, GPTConfig(V, **SIZES)),
    "llama": (Llama, LlamaConfig(V, **SIZES)),
    "llama, untied": (Llama, LlamaConfig(V, **SIZES, key_heads=1, tied=False)),
    "mistral, sinks": (Decoder, DecoderConfig(V, **SIZES, family="mistral", window=3, sinks=4)),
    "gemma, n-grams": (
        *(Decoder, DecoderConfig(V, **SIZES, family="gemma3", window=3, global_every=2, ngrams=3)),
    ),
    "smollm3, angles scaled": (
        *(Decoder, DecoderConfig(V, **SIZES, family="smollm3", unrotated_every=2, **SCALED)),
    ),
    "gru": (LanguageModel, LM(V, 4, 5, layers=2, cell="gru")),
    "lstm, one-hot": (LanguageModel, LM(V, 0, 5, layers=2, cell="lstm")),
    "rnn, tied": (LanguageModel, LM(V, 5, 5, cell="rnn", tied=True)),
    "neural-ngram": (NeuralNGram, NeuralNGramConfig(V, 3, 4, 5)),
    "convolution": (GatedConvolution, GatedConvolutionConfig(V, 2, 8, convolution=3)),
    "mamba": (Mamba, MambaConfig(V, 2, 8, rank=2)),
    "mamba, untied": (Mamba, MambaConfig(V, 1, 8, rank=2, tied=False)),
}
OF_PAIRS = {
    "additive": (EncoderDecoder, PAIRS(V, V, 4, 6, layers=2)),
    "general": (EncoderDecoder, PAIRS(V, V, 4, 6, attention="general")),
    "transformer": (Transformer, TransformerConfig(V, V, 2, 2, 8, 12)),
    "transformer, untied": (
        *(Transformer, TransformerConfig(V, V, 2, 2, 8, 12, post_norm=True, tied=False)),
    ),
}
ALL = OF_TEXT | OF_PAIRS
FOUND = {
    "gpt": CausalReader,
    "gru": RecurrentReader,
    "neural-ngram": NeuralNGramReader,
    "convolution": GatedConvolutionReader,
    "mamba": MambaReader,
    "additive": RecurrentDecoder,
    "transformer": TransformerDecoder,
}


def new(name):
    Model, config = ALL[name]
    rng = np.random.default_rng(0)
    model = Model(config, rng, dtype=np.float64)
    for table in (table for name, table in model.params.items() if name.startswith("ngrams.")):
        table += rng.standard_normal(table.shape)  # fresh ones are zeros
    return model


@pytest.mark.parametrize("name", FOUND)
def test_what_reads_is_found_by_the_class_of_a_model(name):
    Model, config = ALL[name]

    class Own(Model):
        pass

    holder = Reader if name in OF_TEXT else TargetDecoder
    for model in (new(name), Own(config, params=new(name).params)):
        found = holder(model)
        assert type(found) is FOUND[name]
        assert found.model is model
        assert found.config is model.config
        assert holder(found) is found


def test_a_model_that_reads_by_itself_is_its_own_and_others_are_refused():
    for holder, model in ((Reader, TinyLanguageModel()), (TargetDecoder, TinyDecoder())):
        assert holder(model) is model
    other = Classifier(ClassifierConfig(V, 2), np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"^Reader: expected a language model, found Classifier$"):
        Reader(other)
    with pytest.raises(TypeError, match=r"^TargetDecoder: expected a model of pairs, found GPT$"):
        TargetDecoder(new("gpt"))


@originals_deep
@pytest.mark.parametrize(
    "name", ["llama, untied", "mistral, sinks", "gemma, n-grams", "smollm3, angles scaled"]
)
@given(rng=strategies.generators(), cuts=st.sets(st.integers(1, 14)))
def test_a_text_is_read_at_any_split_as_whole(kernels, name, rng, cuts):
    """Its last tokens, whose windows have left the sinks behind, are single steps."""
    model, ids = new(name), rng.integers(0, V, (2, 15))
    reader, ends = Reader(model), sorted({*cuts, 12, 13, 14, 15})
    with use_kernels(kernels):
        whole, state = model.forward(ids)[0], reader.zero_state(2)
        for first, last in zip([0, *ends], ends, strict=False):
            logits, state = reader.read(ids[:, first:last], state)
            np.testing.assert_allclose(logits, whole[:, last - 1], rtol=1e-10, atol=1e-12)


def test_a_window_begins_with_ngrams_of_its_own_tokens():
    """A text in parts, past the context, is read as each of its windows is."""
    model = new("gemma, n-grams")
    reader, ids = Reader(model), np.random.default_rng(5).integers(0, V, (1, 33))
    state, C = reader.zero_state(1), 20
    for first, last in ((0, 2), (2, 3), (3, 4), (4, C), (C, C + 1), (C + 1, C + 4), (C + 4, 33)):
        logits, state = reader.read(ids[:, first:last], state)
        begin = 0 if last <= C else C // 2 if last <= C + C // 2 else C
        expected, _ = model.forward(ids[:, begin:last])
        np.testing.assert_allclose(logits, expected[:, -1], rtol=1e-10, atol=1e-12)


def test_a_mamba_reads_a_long_prompt_in_parts():
    """Of which the last may be a single token; the state is that of one pass of the layers."""
    model = new("mamba")
    reader, rng = Reader(model), np.random.default_rng(3)
    for T in (PART, PART + 1, 2 * PART + 7):
        ids = rng.integers(0, V, (2, T))
        (expected, last), _ = model.forward(ids, model.zero_state(2))
        logits, state = reader.read(ids, reader.zero_state(2))
        np.testing.assert_allclose(logits, expected[:, -1], rtol=1e-10, atol=1e-12)
        for name, entry in last.items():
            np.testing.assert_allclose(state[name], entry, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("T", [1, 2])
def test_a_mamba_reads_on_from_its_own_states_alone(T):
    reader, ids = Reader(new("mamba")), np.zeros((2, T), int)
    state = reader.zero_state(2)
    for wrong in (
        reader.zero_state(3),
        Reader(new("mamba, untied")).zero_state(2),
        {name: entry.astype(np.float32) for name, entry in state.items()},
        state | {"layers.1.h": state["layers.1.h"][..., :1]},
    ):
        with pytest.raises(ValueError, match=r"^state: expected layers\.\d\.\w+ \(2, .*found"):
            reader.read(ids, wrong)
    with pytest.raises(ValueError, match="expected one or more, found none"):
        reader.read(ids[:, :0], state)


def logits_of(model):
    """The logits after a prompt of two tokens and each of three steps, or after each of five."""
    rng = np.random.default_rng(1)
    ids, logits = rng.integers(0, V, (3, 5)), []
    if isinstance(model, EncoderDecoder | Transformer):
        source = rng.integers(0, V, (3, 4))
        decoder = TargetDecoder(model)
        state = decoder.start(source, np.array([4, 1, 3]))
        for t in range(5):
            after, _, state = decoder.step(ids[:, t : t + 1], state)
            logits.append(after)
        return logits
    reader = Reader(model)
    state = reader.zero_state(3)
    for part in np.split(ids, [2, 3, 4], axis=1):
        after, state = reader.read(part, state)
        logits.append(after)
    return logits


@usual_kernels
@pytest.mark.parametrize("name", ALL)
def test_weights_with_additions_are_read_as_their_sums(kernels, name):
    """With LoRA for every matrix."""
    model, rng = new(name), np.random.default_rng(2)
    matrices = [name for name, W in model.params.items() if W.ndim == 2]
    additions = new_additions(model.params, matrices, 2, rng)
    with use_kernels(kernels):
        before = logits_of(model)
        lora = LoRA(model, additions, scale=1.5)
        for one, other in zip(logits_of(model), before, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
        for addition in additions.values():
            addition += rng.standard_normal(addition.shape) / 2
        lora.merge()
        arrays = {name: getattr(W, "array", W).copy() for name, W in model.params.items()}
        expected = logits_of(type(model)(model.config, params=arrays))
        for one, other, was in zip(logits_of(model), expected, before, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
            assert np.abs(one - was).max() > 0.01
