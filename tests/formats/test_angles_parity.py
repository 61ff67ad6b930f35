"""Scaled angles in our GGUF files, beside llama.cpp."""

import numpy as np
import pytest
from other_programs import import_gguf

from minillm.formats.gguf import export_gguf
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.text.byte_pairs import train

llama_cpp = pytest.importorskip("llama_cpp")

TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
SIZES = {"context": 1024, "layers": 2, "heads": 4, "key_heads": 2, "width": 64, "feed_forward": 96}
W = 32  # width of a head


@pytest.mark.parametrize(
    ("scaling", "tokens", "context"),
    [
        (None, 200, 256),
        (Llama3(8.0, 1.0, 4.0, 8192.0), 200, 256),
        (Linear(4.0), 200, 256),
        (Yarn(4.0, 64), 200, 256),
        (Yarn(4.0, 64, attention_factor=1.4), 200, 256),
    ],
)
def test_logits(tmp_path, scaling, tokens, context):
    rng, path = np.random.default_rng(0), tmp_path / "model.gguf"
    config = LlamaConfig(
        len(TOKENIZER), head_width=W, rotary_base=1e5, rope_scaling=scaling, tied=False, **SIZES
    )
    model = Llama(config, rng)
    for array in model.params.values():
        array += (0.1 * rng.standard_normal(array.shape)).astype(np.float32)
    export_gguf(model, TOKENIZER, path)
    ids = rng.integers(0, len(TOKENIZER), tokens)
    expected, _ = model.forward(ids[None])
    other = llama_cpp.Llama(
        str(path), n_ctx=context, logits_all=True, type_k=0, type_v=0, flash_attn=False,
        n_threads=1, verbose=False,
    )  # fmt: skip
    other.eval(ids.tolist())
    atol = 1e-5 * np.ptp(expected)
    np.testing.assert_allclose(np.array(other.scores[:tokens]), expected[0], rtol=0, atol=atol)
    again, _ = import_gguf(path)[0].forward(ids[None])
    np.testing.assert_allclose(again, expected, rtol=0, atol=atol)
