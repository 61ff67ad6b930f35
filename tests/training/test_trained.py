"""The part of a model that is trained: its gradients are those of the whole, and no others."""

import numpy as np
import pytest

from minillm.models.bert import BERT, BERTConfig
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.models.question_answering import Reader, ReaderConfig
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.training.trained import Trained, depths

SIZES = {"layers": 3, "heads": 2, "width": 4}
IDS = np.random.default_rng(0).integers(3, 9, (3, 6))
LENGTHS = np.array([6, 4, 5])
PAIRS = (IDS, LENGTHS, np.where(np.arange(6) == LENGTHS[:, None] - 1, 9, IDS), LENGTHS)
SPANS = (IDS[:, :3], np.array([3, 2, 3]), IDS, LENGTHS, np.array([[1, 2], [0, 0], [2, 3]]))

MODELS = {
    "gpt": (GPT, GPTConfig(9, context=6, **SIZES), (IDS, IDS)),
    "llama": (Llama, LlamaConfig(9, context=6, **SIZES, tied=False), (IDS, IDS)),
    "decoder": (Decoder, DecoderConfig(9, context=6, **SIZES, family="gemma3"), (IDS, IDS)),
    "lm": (LanguageModel, LanguageModelConfig(9, 4, 4, 3), (IDS, IDS)),
    "transformer": (Transformer, TransformerConfig(9, 9, **SIZES, feed_forward=6), PAIRS),
    "shared": (Transformer, TransformerConfig(9, 9, **SIZES, feed_forward=6, shared=True), PAIRS),
    "encoder-decoder": (EncoderDecoder, EncoderDecoderConfig(9, 9, 4, 4, 2), PAIRS),
    "pointer": (PointerGenerator, PointerGeneratorConfig(9, 0, 4, 4, 2), PAIRS),
    "reader": (Reader, ReaderConfig(9, "bert", context=12, **SIZES), SPANS),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", MODELS)
def test_any_part_has_the_gradients_that_it_has_in_the_whole(name, seed):
    kind, config, batch = MODELS[name]
    model = kind(config, np.random.default_rng(0), dtype=np.float64)
    whole = model.loss(batch, np.random.default_rng(1))[1]()
    rng = np.random.default_rng(seed)
    chosen = [n for n in model.params if rng.random() < (0.1, 0.5, 0.9, 0.02)[seed]]
    trained = Trained({n: model.params[n] for n in chosen})
    trained.mark(model)
    gradients = trained.gradients(model.loss(batch, np.random.default_rng(1))[1])
    assert gradients.keys() == set(chosen)
    for n, gradient in gradients.items():
        np.testing.assert_allclose(gradient, whole[n], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["gpt", "llama", "transformer", "lm", "reader"])
def test_of_a_matrix_that_is_not_trained_no_gradient_is_computed(name):
    """And nothing at all below the lowest weight that is trained."""
    kind, config, batch = MODELS[name]
    model = kind(config, np.random.default_rng(0), dtype=np.float64)
    matrices = {n for n, fresh in kind.new_parameters(config).items() if fresh.role == "matrix"}
    top = [n for n in model.params if n in matrices][-1]
    Trained({top: model.params[top]}).mark(model)
    computed = model.loss(batch, np.random.default_rng(1))[1]()
    assert computed.keys() & matrices == {top}
    depth = depths(model)
    lowest = [n for n in computed if depth[n] < depth[top]]
    assert lowest == []


@pytest.mark.parametrize(("name", "page"), [("gpt", GPT), ("llama", Llama), ("reader", BERT)])
def test_no_block_below_runs_backwards(name, page, monkeypatch):
    kind, config, batch = MODELS[name]
    model = kind(config, np.random.default_rng(0))
    original, ran = page.block, []

    def counted(self, layer, *arguments, **others):
        y, backward = original(self, layer, *arguments, **others)
        return y, lambda dy: ran.append(layer) or backward(dy)

    monkeypatch.setattr(page, "block", counted)
    lowest = "blocks.1.norm_2.gain"
    Trained({lowest: model.params[lowest]}).mark(model)
    assert lowest in model.loss(batch)[1]()
    assert ran == [2, 1]


def test_a_pooler_that_the_loss_does_not_use_is_not_trained():
    config = BERTConfig(9, context=6, **SIZES, pooler=True)
    model = BERT(config, np.random.default_rng(0))
    assert model.unused == ["pooler.W", "pooler.b"]


def by_depth(model):
    results = {}
    for name, depth in depths(model).items():
        results.setdefault(depth, set()).add(name)
    return results


def test_depths_of_the_models():
    rng = np.random.default_rng(0)
    sizes = {"context": 6, "layers": 2, "heads": 2, "width": 4}
    bert = by_depth(BERT(BERTConfig(7, **sizes), rng))
    assert bert[0] >= {"embedding.E", "positions.E", "segments.E", "embedding.norm.gain"}
    assert {name[:9] for name in bert[1]} == {"blocks.0."}
    assert {name[:9] for name in bert[2]} == {"blocks.1."}
    assert {name.split(".")[0] for name in bert[3]} == {"mask"}
    gpt = by_depth(FineTuned(FineTunedConfig("gpt", GPTConfig(7, **sizes), 2), rng))
    assert gpt[0] == {"encoder.embedding.E", "encoder.positions.E"}
    assert {name[:17] for name in gpt[2]} == {"encoder.blocks.1."}
    assert gpt[3] == {"encoder.norm.gain", "encoder.norm.bias", "output.W", "output.b"}
    lm = LanguageModelConfig(7, 0, 4, layers=2, headless=True)
    one_hot = by_depth(FineTuned(FineTunedConfig("lm", lm, 2), rng))
    assert one_hot.keys() == {1, 2, 3}
    pairs = by_depth(EncoderDecoder(EncoderDecoderConfig(7, 7, 4, 4, layers=2), rng))
    assert pairs[0] == {"source.E"}
    assert {name[:10] for name in pairs[1]} == {"encoder.0."}
    assert {name[:10] for name in pairs[2]} == {"encoder.1."}
    assert {"target.E", "decoder.0.W_x", "output.W"} <= pairs[3]
