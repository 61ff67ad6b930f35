"""Llamas and later decoders in GGUF files: there and back, the order of rows, what is refused.

Against llama.cpp, transformers and the package gguf where they are installed.
"""

import ctypes
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from other_programs import import_gguf
from published import WORDS, of_pairs, of_pieces

from minillm import ops
from minillm.errors import InputError
from minillm.formats import gguf
from minillm.formats.format import Contents
from minillm.formats.gguf import export_gguf, read_weights
from minillm.formats.gguf_config import ARCHITECTURES
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.gpt import GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.quantised import Quantised
from minillm.quantised.blocks import TYPES
from minillm.quantised.gguf import open_gguf, write_gguf
from minillm.quantised.matrix import dense, dequantised
from minillm.text import Characters, ChatTemplate, PublishedTokenizer
from minillm.text.byte_pairs import train
from minillm.text.tokenizer_json import sentence_pieces

PLAIN = train(["she sells sea shells by the sea shore\n"], 262)
TOKENIZER = of_pairs(PLAIN.merges, ["<|bos|>", "<|eos|>"], "smollm", bos="<|bos|>", eos="<|eos|>")
SIZES = {
    "vocabulary": len(TOKENIZER), "context": 16, "layers": 2, "heads": 4, "key_heads": 2,
    "width": 32, "feed_forward": 64, "head_width": 8, "rotary_base": 500.0, "eps": 1e-6,
}  # fmt: skip
CONFIG = LlamaConfig(**SIZES)
SCALING = Llama3(8.0, 1.0, 4.0, 8192.0)
WINDOWS = {family: {"window": 5} for family, row in FAMILIES.items() if row.windows}
IN_GGUF = [family for family in FAMILIES if family != "mistral"]  # which is a Llama there


def new(family="llama", spread=0.0, **options):
    """A model in which no gain is one; spread: of numbers that are added to each weight."""
    rng = np.random.default_rng(0)
    if family == "llama":
        model = Llama(LlamaConfig(**SIZES | options), rng)
    else:
        layers = {"layers": 8} | WINDOWS.get(family, {})
        model = Decoder(DecoderConfig(family=family, **SIZES | layers | options), rng)
    for name, array in model.params.items():
        if name.endswith((".gain", ".b_qkv")):
            array += rng.uniform(-0.4, 0.8, array.shape).astype(np.float32)
        array += (spread * rng.standard_normal(array.shape)).astype(np.float32)
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def assert_same(model, expected):
    assert model.config == expected.config
    assert model.params.keys() == expected.params.keys()
    for name, array in expected.params.items():
        np.testing.assert_array_equal(model.params[name], array, err_msg=name)


def changed(path, arrays=None, **metadata):
    """What is read of the file with other entries and tensors, where None takes one away."""
    found, tensors = open_gguf(path)
    whole = {name: (tensor.read(), "F32") for name, tensor in tensors.items()} | (arrays or {})
    write_gguf(
        path,
        {name: value for name, value in (found | metadata).items() if value is not None},
        {name: array for name, array in whole.items() if array is not None},
    )
    return import_gguf(path)


def refused(path, arrays=None, **metadata):
    """The message about the file with other entries and tensors."""
    with pytest.raises(InputError) as error:
        changed(path, arrays, **metadata)
    for reason in error.value.args:
        assert reason.startswith(f"{path}: ")
        assert reason.count(str(path)) == 1
        assert "\n" not in reason
    return str(error.value).removeprefix(f"{path}: ")


# --- there and back ------------------------------------------------------------------------------

MODELS = [
    ("llama", {}),
    ("llama", {"tied": False, "key_heads": 4, "eps": 1e-5}),
    ("llama", {"rope_scaling": SCALING, "key_heads": 1, "rotary_base": 5e5, "head_width": 12}),
    # None of these angles is divided by the whole factor.
    ("llama", {"rope_scaling": Llama3(32.0, 1.0, 4.0, 8192.0), "rotary_base": 5e3}),
    ("llama", {"rope_scaling": Llama3(8.0, 1.0, 4.0, 64.0), "rotary_base": 5e5}),
    ("llama", {"rope_scaling": Yarn(4.0, 64.0)}),
    ("mistral", {"window": None}),
    *((family, {}) for family in IN_GGUF),
    ("qwen2", {"tied": False, "rotary_base": 1e6, "rope_scaling": Yarn(4.0, 8.0)}),
    ("qwen3", {"tied": False, "head_width": 12, "rope_scaling": Yarn(2.0, 4.0)}),
    ("smollm3", {"tied": False, "rope_scaling": SCALING, "rotary_base": 5e5}),
    ("gemma3", {"tied": False, "global_every": 3, "local_base": 50.0, "rotary_base": 1e6}),
    ("gemma3", {"rope_scaling": Linear(8.0), "window": None}),
    ("phi3", {"tied": False, "window": None, "rope_scaling": Linear(4.0)}),
]


@pytest.mark.parametrize(("family", "options"), MODELS)
def test_there_and_back(path, family, options):
    model = new(family, **options)
    export_gguf(model, TOKENIZER, path, chat=ChatTemplate("{{ messages }}"))
    again, tokenizer, chat = import_gguf(path)
    if family == "mistral":
        assert type(again) is Llama
        model = Llama(again.config, params=model.params)
    assert_same(again, model)
    assert tokenizer.to_dict() == TOKENIZER.to_dict()
    assert chat == ChatTemplate("{{ messages }}", "<|bos|>", "<|eos|>")


IN_LLAMA_CPP = [row for row in MODELS if row[0] == "llama" or SCALING not in row[1].values()]


def geglu_of_llama_cpp(x):
    """llama.cpp looks GELU up in a table: float16 in, float16 out."""
    gate, up = np.split(x, 2, axis=-1)
    return ops.gelu(gate.astype(np.float16).astype(np.float32))[0].astype(np.float16) * up, None


@pytest.mark.parametrize(("family", "options"), IN_LLAMA_CPP)
def test_the_logits_of_llama_cpp(monkeypatch, path, family, options):
    """It has no windows in a Mistral and a Phi.

    Its GELU is the whole difference of a Gemma.  With ours, the logits differ by 2e-4 of their
    range at the median position (6e-5 with one layer), with its GELU by 4e-5 (1.3e-7).  The largest
    difference, 3e-4, remains where a rounding error moves a gate to the next float16.
    """
    llama_cpp = pytest.importorskip("llama_cpp")
    monkeypatch.setattr("minillm.models.decoders.geglu", geglu_of_llama_cpp)
    model = new(family, spread=0.1, **{"context": 1024, **options})
    gguf.write(Contents(model, TOKENIZER), path)
    if family in ("mistral", "phi3"):
        model = Decoder(replace(model.config, window=None), params=model.params)
    ids = np.random.default_rng(0).integers(0, len(TOKENIZER), 200)
    theirs = llama_cpp.Llama(
        str(path), n_ctx=256, n_batch=64, logits_all=True, type_k=0, type_v=0, flash_attn=False,
        n_threads=1, verbose=False,
    )  # fmt: skip
    theirs.eval(ids.tolist())
    found, expected = np.array(theirs.scores[: len(ids)]), model.forward(ids[None])[0][0]
    atol = (1e-3 if family == "gemma3" else 1e-5) * np.ptp(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    assert np.median(np.abs(found - expected).max(axis=1)) < 1e-4 * np.ptp(expected)


def test_the_logits_of_transformers(path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    export_gguf(new(), TOKENIZER, path, "Q8_0")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    ids = np.arange(14)[None]
    with torch.no_grad():
        theirs = model(torch.tensor(ids)).logits.numpy()
    ours, _ = dequantised(import_gguf(path)[0]).forward(ids)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", *FAMILIES])
def test_names_and_layout_are_theirs(path, family):
    """Where llama.cpp rotates neighbours, row 2 i + h of a head is ours in half h, at place i."""
    model = new(family)
    metadata, found = open_gguf_of(model, path)
    assert metadata["general.architecture"] == ("llama" if family == "mistral" else family)
    assert all(tensor.type == "F32" for tensor in found.values())
    tensors = {name: tensor.read() for name, tensor in found.items()}
    block = {n.removeprefix("blocks.1."): a for n, a in model.params.items() if "blocks.1." in n}
    qkv, gate_up = block["attention.W_qkv"].T, block["feed_forward.W_gate_up"].T
    if family == "phi3":
        expected = {"attn_qkv.weight": qkv, "ffn_up.weight": gate_up}
    else:
        rows = [0, 4, 1, 5, 2, 6, 3, 7] if ARCHITECTURES[family].neighbours else [*range(8)]
        order = np.add.outer(range(0, 48, 8), rows).ravel()
        query, key = np.split(qkv[order], [32])
        expected = {"attn_q.weight": query, "attn_k.weight": key, "attn_v.weight": qkv[48:]}
        expected |= {"ffn_gate.weight": gate_up[:64], "ffn_up.weight": gate_up[64:]}
    gains = {"attn_norm": "norm_1", "ffn_norm": "norm_2"}
    if family in ("qwen3", "gemma3"):
        gains |= {"attn_q_norm": "attention.norm_q", "attn_k_norm": "attention.norm_k"}
    if family == "gemma3":
        gains |= {"post_attention_norm": "attention.norm", "post_ffw_norm": "feed_forward.norm"}
    expected |= {f"{theirs}.weight": block[f"{ours}.gain"] for theirs, ours in gains.items()}
    if family == "qwen2":
        biases = np.split(block["attention.b_qkv"], [32, 48])
        expected |= {f"attn_{n}.bias": b for n, b in zip("qkv", biases, strict=True)}
    expected |= {"ffn_down.weight": block["feed_forward.W_down"].T}
    expected |= {"attn_output.weight": block["attention.W_o"].T}
    assert {n for n in tensors if n.startswith("blk.1.")} == {f"blk.1.{n}" for n in expected}
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[f"blk.1.{name}"], array, err_msg=name)
    np.testing.assert_array_equal(tensors["token_embd.weight"], model.params["embedding.E"])
    assert ("output.weight" in tensors) == ("output.W" in model.params)
    assert import_gguf(path)[2] is None


def open_gguf_of(model, path):
    export_gguf(model, TOKENIZER, path)
    return open_gguf(path)


def test_rows_without_a_token_are_named_and_come_back(path):
    model, size = new(vocabulary=320), len(TOKENIZER)
    metadata, _ = open_gguf_of(model, path)
    tokens, types = (metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type"))
    assert tokens[size:] == [f"[PAD{n}]" for n in range(size, 320)]
    assert set(types[size:].tolist()) == {5}
    again, tokenizer, _ = import_gguf(path)
    assert_same(again, model)
    assert tokenizer.to_dict() == TOKENIZER.to_dict()
    few = {"tokenizer.ggml.tokens": tokens[:size], "tokenizer.ggml.token_type": types[:size]}
    assert changed(path, **few)[1].to_dict() == TOKENIZER.to_dict()


# --- quantised weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["F16", "Q8_0", "Q4_K"])
def test_quantised_weights_stay_quantised(path, type):
    width = max(32, TYPES[type].weights)
    model = new(width=width, feed_forward=width, tied=False)
    export_gguf(model, TOKENIZER, path, type)
    again, _, _ = import_gguf(path)
    types = {name: tensor.type for name, tensor in open_gguf(path)[1].items()}
    assert types["blk.0.attn_k.weight"] == types["token_embd.weight"] == type
    assert types["output.weight"] == ("Q8_0" if TYPES[type].bits < 6.5 else type)
    assert types["output_norm.weight"] == "F32"
    floats = dequantised(again)
    for name, array in model.params.items():
        is_float = type == "F16" or name.endswith("gain")
        assert isinstance(again.params[name], np.ndarray if is_float else Quantised), name
        assert again.params[name].shape == array.shape
        error = np.abs(floats.params[name] - array).max() / np.abs(array).max()
        assert error <= {"F16": 0.001, "Q8_0": 0.005, "Q4_K": 0.15}[type]
    ids = np.arange(8)[None]
    assert np.abs(again.forward(ids)[0] - floats.forward(ids)[0]).max() < 0.1  # activations round


@pytest.mark.parametrize("family", IN_GGUF)
def test_quantised_weights_of_a_family(path, family):
    """Their products are the dequantised ones, with a bias, too; ours are read by the config.

    Activations of float64 are not rounded: a small random Gemma would multiply these errors.
    """
    export_gguf(new(family, tied=False), TOKENIZER, path, "Q8_0")
    model = import_gguf(path)[0]
    qkv = model.params["blocks.0.attention.W_qkv"]
    assert isinstance(qkv, Quantised)
    assert len(qkv.parts) == (1 if family == "phi3" else 3)
    ids = np.arange(9)[None]
    floats = {name: dense(weight).astype(float) for name, weight in model.params.items()}
    kept = {name: weight for name, weight in model.params.items() if ".W_" in name}
    expected, found = (
        Decoder(model.config, params=params).forward(ids)[0] for params in (floats, floats | kept)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.ptp(expected))
    again = Decoder(model.config, params=read_weights(path, model.config))
    np.testing.assert_array_equal(again.forward(ids)[0], model.forward(ids)[0])


def test_a_matrix_of_other_blocks_and_one_of_none(path):
    for type, expected in (("Q4_K", "Q5_0"), ("Q5_K", "Q8_0"), ("Q6_K", "Q8_0")):
        export_gguf(new(), TOKENIZER, path, type)  # rows of 32
        types = {name: tensor.type for name, tensor in open_gguf(path)[1].items()}
        assert types.pop("token_embd.weight") == "Q8_0"
        assert set(types.values()) == {expected, "F32"}
    with pytest.raises(InputError, match=r"attn_output.weight: .* multiple of 32, found 24"):
        export_gguf(new(head_width=6), TOKENIZER, path, "Q4_0")
    model = new()
    model.params["blocks.1.attention.W_o"][3, 3] = 1e9
    with pytest.raises(InputError, match=r"attn_output.weight: expected finite numbers that F16"):
        export_gguf(model, TOKENIZER, path, "F16")


def test_parts_of_floats_and_of_integers_are_floats(path):
    export_gguf(new(), TOKENIZER, path, "Q8_0")
    metadata, tensors = open_gguf(path)
    arrays = {n: (t.read(), "F16" if "attn_k" in n else t.type) for n, t in tensors.items()}
    write_gguf(path, metadata, arrays)
    params = import_gguf(path)[0].params
    assert isinstance(params["blocks.0.attention.W_qkv"], np.ndarray)
    assert isinstance(params["blocks.0.attention.W_o"], Quantised)


@pytest.mark.parametrize("type", ["F32", "Q8_0", "Q4_1"])
def test_numbers_that_are_not_finite_are_refused(path, type):
    export_gguf(new(), TOKENIZER, path, type)
    tensor = open_gguf(path)[1]["blk.1.attn_v.weight"]
    data = bytearray(path.read_bytes())
    at = tensor.begin + (0 if type == "F32" else TYPES[type].bytes)
    data[at : at + 4] = b"\0\x7e\0\x7e" if type != "F32" else b"\0\0\x80\x7f"  # NaN, infinity
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"blk.1.attn_v.weight: expected finite numbers"):
        import_gguf(path)


IDS = np.random.default_rng(0).integers(0, len(TOKENIZER), 20)
WIDE = {"context": 64, "feed_forward": 256, "head_width": None, "rotary_base": 10000.0}


@pytest.mark.parametrize("width", [192, 256])
@pytest.mark.parametrize("name", ["Q4_K_M", "Q5_K_M", "Q3_K_M", "Q2_K", "Q5_1", "IQ4_NL", "IQ4_XS"])
def test_files_that_llama_cpp_quantises(tmp_path, width, name):
    """Rows of 192 are no multiple of 256, so they have other types, such as Q5_0 in Q4_K_M.

    llama.cpp rounds activations once, and keeps keys and values in float16.
    """
    llama_cpp, theirs = pytest.importorskip("llama_cpp"), pytest.importorskip("gguf")
    floats, path = tmp_path / "floats.gguf", tmp_path / "quantised.gguf"
    config = LlamaConfig(**SIZES | WIDE | {"width": width})
    export_gguf(Llama(config, np.random.default_rng(0)), TOKENIZER, floats)
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.nthread = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}"), 1
    names = (str(file).encode() for file in (floats, path))
    assert llama_cpp.llama_model_quantize(*names, ctypes.byref(options)) == 0
    tensors = open_gguf(path)[1]
    for tensor in theirs.GGUFReader(path).tensors:
        expected = theirs.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(tensors[tensor.name].read(), expected)
    model, _, _ = import_gguf(path)
    ours, exact = (m.forward(IDS[None])[0][0] for m in (model, dequantised(model)))
    other = llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, logits_all=True, verbose=False)
    other.eval(IDS.tolist())
    logits, size = np.array(other.scores[: len(IDS)]), np.ptp(exact)
    other.close()
    assert np.abs(ours - exact).max() < 0.02 * size
    assert np.abs(ours - logits).max() < 0.03 * size


# --- entries and tensors -------------------------------------------------------------------------

FACTOR, TYPE = "llama.rope.scaling.factor", "llama.rope.scaling.type"
WINDOW = "gemma3.attention.sliding_window"
PATTERN = f"{WINDOW}_pattern"
ALL = {"global_every": 1, "local_base": 10000.0}  # the layers of a Gemma are whole


@pytest.mark.parametrize(
    ("family", "metadata", "fields"),
    [
        # Entries that change nothing, as in llama.cpp, which gives no warning either
        ("llama", {TYPE: "linear", FACTOR: 1.0}, {}),
        ("llama", {TYPE: "none", FACTOR: 4.0}, {}),
        ("llama", {"llama.rope.scaling.attn_factor": 1.0, "llama.attention.causal": True}, {}),
        ("llama", {"llama.rope.scale_linear": 0.0, "llama.more": 3, "general.more": "text"}, {}),
        # A factor without a type is linear; the older name is for files without the newer one.
        ("llama", {FACTOR: 4.0}, {"rope_scaling": Linear(4.0)}),
        ("llama", {"llama.rope.scale_linear": 4.0, FACTOR: 8.0}, {"rope_scaling": Linear(8.0)}),
        # What a file leaves out
        ("llama", {"llama.rope.freq_base": None}, {"rotary_base": 1e4}),
        ("llama", {"llama.attention.layer_norm_rms_epsilon": None}, {"eps": 1e-5}),
        ("phi3", {"phi3.attention.sliding_window": 16}, {"window": None}),  # it hides no token
        ("phi3", {"phi3.attention.sliding_window": None}, {"window": None}),
        ("gemma3", {PATTERN: None, "gemma3.rope.freq_base_swa": None}, {}),
        ("gemma3", {PATTERN: 3}, {"global_every": 3}),
        ("gemma3", {WINDOW: None}, {"window": None, **ALL}),
        ("gemma3", {WINDOW: 0}, {"window": None, **ALL}),
    ],
)
def test_entries_that_a_file_may_have_or_lack(path, family, metadata, fields):
    model = new(family)
    export_gguf(model, TOKENIZER, path)
    found = changed(path, **metadata)[0].config
    if metadata.get("llama.rope.freq_base", 0) is None:
        fields = {"rotary_base": 10000.0}
    expected = replace(model.config, **fields)
    if "global_every" in fields and fields["global_every"] == 1:
        assert {found.rotation_of(layer) for layer in range(8)} == {(500.0, None)}
        assert {found.mask_of(layer).window for layer in range(8)} == {None}
    assert found == expected


@pytest.mark.parametrize("window", [None, 3])
def test_a_gemma_whose_layers_are_all_alike(path, window):
    """Each whole or each local, with the same angles."""
    model, ids = new("gemma3", global_every=0, window=window, local_base=7.0), np.arange(9)[None]
    export_gguf(model, TOKENIZER, path)
    np.testing.assert_array_equal(import_gguf(path)[0].forward(ids)[0], model.forward(ids)[0])


def test_the_attention_factor_of_yarn_is_in_addition_to_the_default(path):
    model = new(rope_scaling=Yarn(4.0, 9.0, attention_factor=1.2))
    found = open_gguf_of(model, path)[0]["llama.rope.scaling.attn_factor"]
    assert found == pytest.approx(1.2 / (1 + 0.1 * np.log(4)))
    assert import_gguf(path)[0].config.rope_scaling.attention_factor == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("smollm3", {"unrotated_every": 3}, "unrotated_every: expected 4, as in llama.cpp, found"),
        ("llama", {"rope_scaling": Yarn(2.0, 9, truncate=False)}, "in a GGUF file, found Yarn"),
        ("llama", {"rope_scaling": Yarn(2.0, 0.5)}, r"expected Yarn\(.*=1.0, .* found .*=0.5,"),
        ("llama", {"rope_scaling": Llama3(2.0, 1.0, 4.0, 64.5)}, r"=64.0\) .*, found .*=64.5\)"),
        ("llama", {"rope_scaling": Llama3(2.0, 1.0, 5.0, 64.0)}, "factor=4.0, .*, found .*=5.0, "),
        *(
            (family, {"rope_scaling": SCALING}, "expected None, Linear or Yarn in a .*, as in")
            for family in IN_GGUF
        ),
    ],
)
def test_models_that_a_file_cannot_describe(path, family, options, message):
    with pytest.raises(InputError, match=message):
        gguf.write(Contents(new(family, **options), TOKENIZER), path)
    assert not path.exists()


ENTRIES = [
    ("llama", {"general.architecture": "qwen9"}, "architecture: expected 'llama' or 'qwen2' or"),
    ("llama", {"llama.expert_count": 8}, "llama.expert_count: expected 0, found 8"),
    ("llama", {TYPE: "x"}, "llama.rope.scaling.type: expected 'linear' or 'none'"),
    ("llama", {FACTOR: -2.0}, "factor: expected a number from 1e-9 to 1e9, fo"),
    ("llama", {"llama.rope.scaling.yarn_beta_slow": 2.0}, "scaling.yarn_beta_slow: expected none"),
    ("llama", {"llama.rope.scaling.attn_factor": 1.5}, "attn_factor: expected 1: scaled attention"),
    ("llama", {"llama.attention.causal": False}, "llama.attention.causal: expected True, found F"),
    ("llama", {"llama.rope.dimension_count": 4}, "llama.rope.dimension_count: expected 8, the wi"),
    ("llama", {"llama.attention.value_length": 9}, "llama.attention.value_length: expected 8"),
    ("llama", {"llama.block_count": 0}, "llama.block_count: expected a whole number from 1 up, f"),
    ("llama", {"llama.block_count": 3}, "the tensor blk.2.attn_norm.weight is missing"),
    ("llama", {"llama.attention.head_count": 5}, "key_heads: expected a divisor of"),
    ("llama", {"tokenizer.ggml.model": "bert"}, "tokenizer.ggml.model: expected 'gpt2', byte pai"),
    ("llama", {"tokenizer.ggml.pre": "superbpe"}, "ggml.pre: expected 'gpt-2' or 'phi-2' or"),
    ("llama", {"tokenizer.ggml.tokens": 3}, "tokenizer.ggml.tokens: expected a list of texts"),
    ("llama", {"tokenizer.ggml.tokens": ["a", "a"]}, "ggml.token_type: expected 2 numbers"),
    ("llama", {"tokenizer.ggml.merges": ["q q"]}, "found by tokenizers: "),
    ("llama", {"tokenizer.ggml.eos_token_id": 9999}, "ggml.eos_token_id: expected 0 to 262"),
    ("llama", {"tokenizer.ggml.add_bos_token": 3}, "add_bos_token: expected true or false, found"),
    ("llama", {"tokenizer.chat_template": 3}, "tokenizer.chat_template: expected a text, found 3"),
    ("gemma3", {"gemma3.final_logit_softcapping": 30.0}, "final_logit_softcapping: expected 0, "),
    ("gemma3", {PATTERN: np.zeros(8, bool)}, "window_pattern: expected a whole number from 1 up"),
    ("phi3", {"phi3.rope.dimension_count": 6}, "dimension_count: expected 8, the width of a head"),
    ("smollm3", {"general.architecture": "qwen3"}, "qwen3.context_length: expected a whole numb"),
]


@pytest.mark.parametrize(("family", "metadata", "message"), ENTRIES)
def test_what_cannot_be_run_is_refused_by_name(path, family, metadata, message):
    export_gguf(new(family), TOKENIZER, path)
    assert message in refused(path, **metadata)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("blk.0.attn_q.bias", (np.zeros(32), "F32"), "'blk.0.attn_q.bias': the model has no"),
        ("output_norm.weight", (np.ones(32), "Q8_0"), "output_norm.weight: expected floats"),
        ("output_norm.weight", (np.ones((32, 1)), "F32"), "output_norm.weight: expected shape"),
        ("output_norm.weight", None, "output_norm.weight is missing"),
        ("token_embd.weight", None, "token_embd.weight is missing"),
        ("token_embd.weight", (np.zeros((7, 32)), "F32"), "has 7 rows, but the tokenizer has 263"),
        ("rope_freqs.weight", (np.array([1, 2, 3, 4.0]), "F32"), "the factors of Llama 3, found"),
        ("rope_freqs.weight", (np.ones(3), "F32"), "rope_freqs.weight: expected shape (4,)"),
    ],
)
def test_tensors_that_do_not_fit(path, name, array, message):
    export_gguf(new(), TOKENIZER, path)
    assert message in refused(path, {name: array})


def test_one_scaling_only(path):
    export_gguf(new(rope_scaling=SCALING, rotary_base=5e5), TOKENIZER, path)
    message = refused(path, **{FACTOR: 4.0})
    assert "expected one scaling of the angles, found rope_freqs" in message
    original = "llama.rope.scaling.original_context_length"
    for value, expected in ((4096, "the factors of Llama 3, found others"), (0, "found 0.0")):
        assert expected in refused(path, **{FACTOR: None, original: value})
    assert changed(path, **{original: None})[0].config.rope_scaling == SCALING  # as published


# --- tokenizers ----------------------------------------------------------------------------------


def written(tokenizer, path):
    """The metadata of a file with this tokenizer."""
    export_gguf(new(vocabulary=len(tokenizer)), tokenizer, path)
    return open_gguf(path)[0]


@pytest.mark.parametrize("add_bos", [True, False])
def test_llama_3_has_whole_words_and_bos(path, add_bos):
    names = ["<|begin_of_text|>", "<|eot_id|>"]
    tokenizer = of_pairs(
        [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")], names, "llama-bpe", (), *names,
        ["bos"] * add_bos, whole=True,
    )  # fmt: skip
    written(tokenizer, path)
    again = import_gguf(path)[1]
    assert again.to_dict() == tokenizer.to_dict()
    assert again.decode(again.encode_known("abc")[:1]) == "abc"
    assert again.encode("abc").tolist()[: int(add_bos)] == [again.bos] * add_bos
    assert changed(path, **{"tokenizer.ggml.add_bos_token": None})[1].add_bos  # as llama.cpp


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("options", [{"nfc": True}, {"whole": True, "framed": ["bos"]}])
def test_words_and_options_of_byte_pairs_are_written_and_read_back(path, words, options):
    """As far as the names of words have the options; the others are not in such files."""
    names = ["<|bos|>", "<|eos|>", "<think>"]
    tokenizer = of_pairs(PLAIN.merges, names, words, names[2:], *names[:2], **options)
    assert written(tokenizer, path)["tokenizer.ggml.pre"] in WORDS
    again = import_gguf(path)[1]
    assert (again.tokens, again.special.ids) == (tokenizer.tokens, tokenizer.special.ids)
    assert again.shown == tokenizer.shown
    assert (again.bos, again.eos, again.add_bos) == (261, 262, "framed" in options)
    expected, found = tokenizer.values, again.values
    assert found["pre_tokenizer"] == expected["pre_tokenizer"]
    composed = (True, False) if words in ("qwen2", "deepseek-r1-qwen") else (False,)
    whole = words in ("llama-bpe", "smaug-bpe")
    if options.get("nfc", False) in composed and (whole or "whole" not in options):
        assert found == expected


SCORES = {"▁": -6.0, "a": -7.0, "b": -8.0, "▁a": -1.0, "ab": -2.0, "▁ab": -3.0}


def pieces(**options):
    """SentencePiece's tokens, all of which a GGUF file can describe."""
    special = ["<|end|>", "<|endoftext|>", "▁▁"]
    return of_pieces(SCORES, special, special[2:], **{"framed": ["bos"], **options})


TAKING = {text: {"rstrip": True} for text in ("</s>", "<|end|>", "▁▁")}


@pytest.mark.parametrize(
    "options", [{}, {"prefix": False, "framed": ["bos", "eos"]}, {"flags": TAKING}]
)
def test_sentencepieces_tokens_are_written_and_read_back(path, options):
    tokenizer = pieces(**options)
    metadata, again = written(tokenizer, path), import_gguf(path)[1]
    assert metadata["tokenizer.ggml.model"] == "llama"
    types = metadata["tokenizer.ggml.token_type"].tolist()
    assert types == [2, 3, 3, *[6] * 256, *[1] * 6, 3, 3, 4]
    assert again.texts == [text.replace("▁▁", "  ") for text in tokenizer.texts]
    assert again.hidden == tokenizer.hidden
    for text in ("ab a", "é<|end|>\n ab", "b a b", "", "bab<|endoftext|>a"):
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist(), text


def test_sentencepieces_tokens_that_are_refused(path):
    written(pieces(), path)
    for value in (np.zeros(3, np.float32), None):
        assert "scores: expected 268 numbers" in refused(path, **{"tokenizer.ggml.scores": value})


def test_units_that_a_file_cannot_describe_are_left_out(path):
    for tokenizer in (pieces(unigram=True), Characters("abc")):
        assert written(tokenizer, path)["tokenizer.ggml.model"] == "none"
    config = new(vocabulary=3).config
    assert read_weights(path, config).keys() == new(vocabulary=3).params.keys()
    with pytest.raises(InputError, match=r"tokenizer.ggml.model: expected 'gpt2'.*found 'none'"):
        import_gguf(path)
    with pytest.raises(InputError, match="only a run of llama has quantised weights"):
        read_weights(path, GPTConfig(3))


VECTORS = json.loads((Path(__file__).parents[1] / "text/sentencepiece_vectors.json").read_text())
TEXTS = (
    *VECTORS["texts"],
    *("I'LL say  1234.)\n\n(yes)", "HTTPServer camelCase's", "a\t\n \r\n b", "<s>x</s> <think> y"),
)


@pytest.mark.parametrize("name", [*VECTORS["models"], *WORDS])
def test_ids_of_llama_cpp(path, name):
    """SentencePiece's tokens, and each kind of words."""
    llama_cpp = pytest.importorskip("llama_cpp")
    if name in WORDS:
        names, merges = ["<s>", "</s>", "<think>"], train(TEXTS, 400).merges
        tokenizer = of_pairs(merges, names, name, ["<think>"], "<s>", "</s>")
    else:
        model = VECTORS["models"][name]
        tokens = (model[part] for part in ("texts", "scores", "types"))
        tokenizer = PublishedTokenizer(sentence_pieces(*tokens, prefix=model["prefix"]))
    written(tokenizer, path)
    library = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    for text in TEXTS:
        theirs = library.tokenize(text.encode(), add_bos=False, special=True)
        assert tokenizer.encode_known(text).tolist() == theirs
