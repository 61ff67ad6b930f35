"""The depth of each weight of each model."""

import numpy as np

from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.models.gpt import GPTConfig
from minillm.models.language_model import LanguageModelConfig
from minillm.training.fine_tuning import depths


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
