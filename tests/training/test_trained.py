"""The part of a model that is trained: no work is done for the gradients of any others.

That a part has the gradients that it has in the whole, models/test_every_model.py tests.
"""

import numpy as np
from model_table import BLOCKS, CAUSAL, PAIRS, READERS, WINDOWS, V, each, encoder_decoder, tuned

from minillm.models.bert import BERT, BERTConfig
from minillm.models.language_model import LanguageModelConfig
from minillm.training.trained import Trained, depths

SOME = {
    "gpt": CAUSAL["gpt"],
    "llama": CAUSAL["llama, untied"],
    "transformer": PAIRS["transformer"],
    "lm": WINDOWS["rnn"],
    "reader": READERS["reader, bert"],
}


@each(SOME)
def test_of_a_matrix_that_is_not_trained_no_gradient_is_computed(entry):
    """And nothing at all below the lowest weight that is trained."""
    model, batch = entry.with_batch()
    declared = entry.Model.new_parameters(entry.config)
    matrices = [n for n, fresh in declared.items() if fresh.role == "matrix"]
    depth, params = depths(model), model.params
    for lowest in (matrices[-1], matrices[len(matrices) // 2]):
        model.params = params
        trained = Trained({lowest: params[lowest]})
        trained.mark(model)
        computed = model.loss(batch, np.random.default_rng(1))[1]()
        assert trained.gradients(lambda computed=computed: computed).keys() == {lowest}
        assert [n for n in computed if depth[n] < depth[lowest]] == []
        if lowest == matrices[-1]:
            assert computed.keys() & set(matrices) == {lowest}


def by_depth(model):
    results = {}
    for name, depth in depths(model).items():
        results.setdefault(depth, set()).add(name)
    return results


def test_depths_of_the_models():
    bert = by_depth(BERT(BERTConfig(V, **BLOCKS), np.random.default_rng(0)))
    assert bert[0] >= {"embedding.E", "positions.E", "segments.E", "embedding.norm.gain"}
    assert {name[:9] for name in bert[1]} == {"blocks.0."}
    assert {name[:9] for name in bert[2]} == {"blocks.1."}
    assert {name.split(".")[0] for name in bert[3]} == {"mask"}
    gpt = by_depth(tuned("gpt").new())
    assert gpt[0] == {"encoder.embedding.E", "encoder.positions.E"}
    assert {name[:17] for name in gpt[2]} == {"encoder.blocks.1."}
    assert gpt[3] == {"encoder.norm.gain", "encoder.norm.bias", "output.W", "output.b"}
    one_hot = tuned("lm", LanguageModelConfig(V, 0, 4, layers=2, headless=True))
    assert by_depth(one_hot.new()).keys() == {1, 2, 3}
    pairs = by_depth(encoder_decoder(layers=2).new())
    assert pairs[0] == {"source.E"}
    assert {name[:10] for name in pairs[1]} == {"encoder.0."}
    assert {name[:10] for name in pairs[2]} == {"encoder.1."}
    assert {"target.E", "decoder.0.W_x", "output.W"} <= pairs[3]
