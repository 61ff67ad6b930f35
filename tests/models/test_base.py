"""The shared parts of all models: fresh parameters, states, targets, checks."""

import numpy as np
import pytest

from minillm.decoding.decoder import select
from minillm.models import sizes
from minillm.models.classifier import Classifier, ClassifierConfig
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.models.teacher_forcing import teacher_forcing

# Projections of fresh parameters as they were drawn when they were first published: a run
# that is repeated with its seed begins where it began then.
FROZEN = [
    (LanguageModel, LanguageModelConfig(9, 5, 5, 2, "rnn"), -66.19423705226151),
    (LanguageModel, LanguageModelConfig(9, 5, 5, 2, "lstm"), -45.08791431634094),
    (LanguageModel, LanguageModelConfig(9, 5, 5, 2, "gru"), 139.80018155453277),
    (LanguageModel, LanguageModelConfig(9, 5, 5, 2, tied=True), -39.83671026931076),
    (LanguageModel, LanguageModelConfig(9, 0, 5, 2), -11.694135457332365),
    (NeuralNGram, NeuralNGramConfig(9, 4, 3, 5), -23.611656516145793),
    (EncoderDecoder, EncoderDecoderConfig(8, 9, 3, 5, 2, "lstm", True, "none"),
     -220.05075648915926),
    (EncoderDecoder, EncoderDecoderConfig(8, 9, 3, 5, 2, "gru", False, "dot"), 47.89419124840851),
    (EncoderDecoder, EncoderDecoderConfig(8, 9, 3, 5, 2, "rnn", True, "general"),
     -149.58314400023502),
    (EncoderDecoder, EncoderDecoderConfig(8, 9, 3, 5, 2, "lstm", True, "additive"),
     -249.5660979593987),
    (PointerGenerator, PointerGeneratorConfig(9, 0, 3, 5, 2, "gru"), -194.31302377081917),
    (Classifier, ClassifierConfig(9, 3, 4, 5, 2, pooling="last"), 225.86329568259774),
    (Classifier, ClassifierConfig(9, 3, 4, 5, 2, bidirectional=False, pooling="attention"),
     52.23792799389149),
    (ImageClassifier, ImageClassifierConfig(6, 3, 5), -13.00964551824896),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "expected"), FROZEN)
def test_a_seed_gives_the_parameters_that_it_always_gave(kind, config, expected):
    model = kind(config, np.random.default_rng(7))
    projection = 0.0
    for name in sorted(model.params):
        p = model.params[name].astype(np.float64).ravel()
        projection += len(name) * float(p @ np.sin(np.arange(1, p.size + 1)))
    assert projection == pytest.approx(expected, rel=1e-5)
    assert model.dtype == np.float32


def test_select_takes_memory_by_source_and_all_else_by_hypothesis():
    rng = np.random.default_rng(0)
    state = {
        "memory.keys": rng.standard_normal((3, 5, 2)),
        "memory.lengths": np.array([5, 2, 3]),
        "decoder.0.h": rng.standard_normal((3, 2, 4)),
    }
    rows, parents = np.array([0, 2]), np.array([[1, 1, 0], [0, 1, 0]])
    chosen = select(state, rows, parents)
    np.testing.assert_array_equal(chosen["memory.keys"], state["memory.keys"][[0, 2]])
    np.testing.assert_array_equal(chosen["memory.lengths"], [5, 3])
    for b, row in enumerate(rows):
        for k, parent in enumerate(parents[b]):
            h = state["decoder.0.h"][row, parent]
            np.testing.assert_array_equal(chosen["decoder.0.h"][b, k], h)
    turned = select(state, np.array([2, 1, 0]), np.zeros((3, 1), int))
    np.testing.assert_array_equal(turned["memory.lengths"], [3, 2, 5])
    everything = select(state, np.arange(3), np.zeros((3, 1), int))
    assert everything["memory.keys"] is state["memory.keys"]  # not copied at every step


def test_a_decoder_reads_bos_and_then_all_targets_but_the_last():
    targets = np.array([[1, 2, 3], [4, 3, 0]])
    assert teacher_forcing(targets, 9).tolist() == [[9, 1, 2], [9, 4, 3]]


def test_a_repr_names_the_sizes():
    model = LanguageModel(LanguageModelConfig(9, 5, 6, 2, tied=False), np.random.default_rng(0))
    count = sum(p.size for p in model.params.values())
    assert repr(model) == (
        f"<LanguageModel lstm, 2 layers of 6, vocabulary 9, embedding 5: {count:,} parameters>"
    )
    config = ClassifierConfig(1009, 3, 4, 5, 1, bidirectional=True, pooling="last")
    assert sizes.sizes_in_words(config) == (
        "gru, last, 1 layer of 5, vocabulary 1,009, classes 3, embedding 4, bidirectional"
    )


def test_an_absurd_size_takes_no_memory():
    config = LanguageModelConfig(10**12, 10**6, 10**6, 2)
    assert LanguageModel.shapes(config)["embedding.E"] == (10**12, 10**6)
    with pytest.raises(ValueError, match=r"^embedding.E: expected shape \(1000000000000, "):
        LanguageModel(config, params={"embedding.E": np.zeros((2, 3))})
