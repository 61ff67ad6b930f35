"""Files that llama.cpp quantises are read, and it reads ours, with nearly the same logits.

llama.cpp rounds activations once and keeps keys and values in float16, so logits differ by 1e-2.
"""

import ctypes

import numpy as np
import pytest
from other_programs import import_gguf

from minillm.formats.gguf import export_gguf
from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised.blocks import WRITTEN
from minillm.quantised.gguf import open_gguf
from minillm.quantised.matrix import dequantised
from minillm.text.byte_pairs import train

llama_cpp = pytest.importorskip("llama_cpp")
gguf = pytest.importorskip("gguf")
TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
IDS = np.random.default_rng(0).integers(0, len(TOKENIZER), 20)


def new(width):
    rng = np.random.default_rng(0)
    config = LlamaConfig(len(TOKENIZER), 64, 2, heads=4, key_heads=2, width=width, feed_forward=256)
    return Llama(config, rng)


def logits_of(path):
    theirs = llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, logits_all=True, verbose=False)
    theirs.eval(IDS.tolist())
    logits = np.array(theirs.scores[: len(IDS)])
    theirs.close()
    return logits


def assert_near(path):
    model, _, _ = import_gguf(path)
    ours, exact = (m.forward(IDS[None])[0][0] for m in (model, dequantised(model)))
    theirs, size = logits_of(path), np.ptp(exact)
    assert np.abs(ours - exact).max() < 0.02 * size
    assert np.abs(ours - theirs).max() < 0.03 * size


@pytest.mark.parametrize("width", [192, 256])
@pytest.mark.parametrize(
    "name",
    ["Q4_K_M", "Q4_K_S", "Q5_K_M", "Q3_K_M", "Q2_K", "Q6_K", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS"],
)
def test_files_that_llama_cpp_quantises(tmp_path, width, name):
    """Rows of 192 are no multiple of 256, so they have other types, such as Q5_0 in Q4_K_M."""
    floats, path = tmp_path / "floats.gguf", tmp_path / "quantised.gguf"
    export_gguf(new(width), TOKENIZER, floats)
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.nthread = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}"), 1
    names = (str(file).encode() for file in (floats, path))
    assert llama_cpp.llama_model_quantize(*names, ctypes.byref(options)) == 0
    tensors = open_gguf(path)[1]
    for theirs in gguf.GGUFReader(path).tensors:
        expected = gguf.dequantize(theirs.data, theirs.tensor_type)
        np.testing.assert_array_equal(tensors[theirs.name].read(), expected)
    assert_near(path)


@pytest.mark.parametrize("type", WRITTEN)
def test_files_that_llama_cpp_reads(tmp_path, type):
    path = tmp_path / "ours.gguf"
    export_gguf(new(256), TOKENIZER, path, type)
    assert_near(path)
