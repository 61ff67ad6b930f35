"""Decoders after Llama in folders and GGUF files: there and back, old configs, and refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
from other_programs import import_gguf
from published import of_pieces
from safetensors.numpy import load_file

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.formats import gguf, huggingface
from minillm.formats.decoders import LLAMA, RELATIVES
from minillm.formats.format import Contents
from minillm.formats.gguf import export_gguf, read_weights
from minillm.formats.gguf_config import ARCHITECTURES, Architecture
from minillm.formats.huggingface import layout_of
from minillm.models.decoders import FAMILIES, Changes, Decoder, DecoderConfig
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.quantised import Quantised
from minillm.quantised.gguf import open_gguf, write_gguf
from minillm.quantised.matrix import dense
from minillm.text import load_tokenizer
from minillm.text.byte_pairs import train

TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
SIZES = {
    "vocabulary": 262, "context": 16, "layers": 8, "heads": 4, "key_heads": 2, "width": 32,
    "feed_forward": 32, "head_width": 8, "eps": 1e-6,
}  # fmt: skip
WINDOWS = {family: {"window": 5} for family, row in FAMILIES.items() if row.windows}
IN_GGUF = [family for family in FAMILIES if family != "mistral"]  # which is a Llama there


def new(family, **options):
    rng = np.random.default_rng(0)
    config = DecoderConfig(family=family, **SIZES | WINDOWS.get(family, {}) | options)
    model = Decoder(config, rng)
    for name, array in model.params.items():
        if name.endswith((".gain", ".b_qkv")):
            array += rng.uniform(-0.4, 0.8, array.shape).astype(np.float32)
    return model


def make(path, model, without=(), **changes):
    """A folder of a model, with changes of its config.json."""
    huggingface.write(Contents(model, TOKENIZER), path)
    file = path / "config.json"
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({n: v for n, v in values.items() if n not in without}))
    return path


def read(path):
    return huggingface.read(path).model


def make_gguf(path, model, block_type="F32", **metadata):
    """A GGUF file of a model, with other metadata, where None takes an entry away."""
    export_gguf(model, TOKENIZER, path, block_type)
    if metadata:
        found, tensors = open_gguf(path)
        values = {name: value for name, value in (found | metadata).items() if value is not None}
        write_gguf(path, values, {n: (tensor.read(), "F32") for n, tensor in tensors.items()})
    return path


def assert_equal(model, expected):
    assert model.config == expected.config
    assert model.params.keys() == expected.params.keys()
    for name, array in expected.params.items():
        np.testing.assert_array_equal(model.params[name], array, err_msg=name)


OTHERS = {  # than the family's usual numbers
    "mistral": {"tied": False, "window": None},
    "qwen2": {"tied": False, "rotary_base": 1e6},
    "qwen3": {"tied": False, "head_width": 12},
    "smollm3": {"tied": False, "unrotated_every": 3},
    "gemma3": {"tied": False, "global_every": 3, "local_base": 500.0, "rotary_base": 1e6},
    "phi3": {"tied": False, "window": None},
}


ANGLES = {
    "mistral": {"rope_scaling": Linear(2.5)},
    "qwen2": {"rope_scaling": Yarn(4.0, 8.0)},
    "qwen3": {"rope_scaling": Yarn(2.0, 4.0)},
    "smollm3": {"rope_scaling": Llama3(8.0, 1.0, 4.0, 8192.0)},
    "gemma3": {"rope_scaling": Linear(8.0)},
    "phi3": {"rope_scaling": Linear(4.0)},
}


@pytest.mark.parametrize("options", [{}, OTHERS, ANGLES])
@pytest.mark.parametrize("family", FAMILIES)
def test_folders_there_and_back(tmp_path, family, options):
    model = new(family, **options.get(family, {}))
    assert_equal(read(make(tmp_path / "a", model)), model)


@pytest.mark.parametrize("options", [{}, OTHERS, ANGLES])
@pytest.mark.parametrize("family", IN_GGUF)
def test_from_a_folder_to_a_gguf_file_and_back(tmp_path, family, options):
    """For a smollm3 of other layers, which llama.cpp lacks, see below."""
    usual = options is OTHERS and family == "smollm3"
    model = new(family, **{} if usual else options.get(family, {}))
    contents = huggingface.read(make(tmp_path / "a", model))
    gguf.write(contents, tmp_path / "a.gguf")
    assert_equal(import_gguf(tmp_path / "a.gguf")[0], model)


def test_a_mistral_is_a_llama_without_a_window(tmp_path):
    model = new("mistral", window=None)
    gguf.write(Contents(model, TOKENIZER), tmp_path / "a.gguf")
    again = import_gguf(tmp_path / "a.gguf")[0]
    assert type(again).__name__ == "Llama"
    ids = np.arange(9)[None]
    np.testing.assert_array_equal(again.forward(ids)[0], model.forward(ids)[0])


def test_layers_that_llama_cpp_rotates(tmp_path):
    contents = Contents(new("smollm3", unrotated_every=3), TOKENIZER)
    expected = "unrotated_every: expected 4, as in llama.cpp, found 3"
    with pytest.raises(InputError, match=expected):
        gguf.write(contents, tmp_path / "a.gguf")


def test_names_and_layout_in_folders_are_theirs(tmp_path):
    tensors, model = load_file(make(tmp_path / "phi3", new("phi3")) / "model.safetensors"), {}
    model = new("phi3").params
    expected = {
        "self_attn.qkv_proj": "attention.W_qkv",
        "mlp.gate_up_proj": "feed_forward.W_gate_up",
    }
    for theirs, ours in expected.items():
        array = model[f"blocks.1.{ours}"].T
        np.testing.assert_array_equal(tensors[f"model.layers.1.{theirs}.weight"], array)

    tensors = load_file(make(tmp_path / "qwen2", new("qwen2")) / "model.safetensors")
    b = new("qwen2").params["blocks.1.attention.b_qkv"]
    for name, array in (("q", b[:32]), ("k", b[32:48]), ("v", b[48:])):
        np.testing.assert_array_equal(tensors[f"model.layers.1.self_attn.{name}_proj.bias"], array)

    tensors, model = load_file(make(tmp_path / "g", new("gemma3")) / "model.safetensors"), None
    model = new("gemma3").params
    for theirs, ours in {
        "input_layernorm": "norm_1",
        "post_attention_layernorm": "attention.norm",
        "pre_feedforward_layernorm": "norm_2",
        "post_feedforward_layernorm": "feed_forward.norm",
        "self_attn.q_norm": "attention.norm_q",
        "self_attn.k_norm": "attention.norm_k",
    }.items():
        gain = model[f"blocks.1.{ours}.gain"] - 1
        np.testing.assert_array_equal(tensors[f"model.layers.1.{theirs}.weight"], gain)


@pytest.mark.parametrize("family", FAMILIES)
def test_names_and_layout_in_gguf_files_are_theirs(tmp_path, family):
    """Rows of queries change places where llama.cpp rotates neighbours; no gain is less by 1."""
    model, path = new(family), tmp_path / "a.gguf"
    metadata, tensors = open_gguf(make_gguf(path, model))
    arch = "llama" if family == "mistral" else family
    assert metadata["general.architecture"] == arch
    qkv = model.params["blocks.1.attention.W_qkv"].T
    if family == "phi3":
        np.testing.assert_array_equal(tensors["blk.1.attn_qkv.weight"].read(), qkv)
        gate_up = model.params["blocks.1.feed_forward.W_gate_up"].T
        np.testing.assert_array_equal(tensors["blk.1.ffn_up.weight"].read(), gate_up)
    else:
        rows = [0, 4, 1, 5, 2, 6, 3, 7] if family in ("mistral", "smollm3") else range(8)
        query, key, value = (tensors[f"blk.1.attn_{name}.weight"].read() for name in "qkv")
        np.testing.assert_array_equal(query[8:16], qkv[8:16][[*rows]])
        np.testing.assert_array_equal(key[8:], qkv[40:48][[*rows]])
        np.testing.assert_array_equal(value, qkv[48:])
    theirs = {
        "qwen2": {"attn_q.bias"},
        "qwen3": {"attn_q_norm.weight"},
        "gemma3": {"attn_q_norm.weight", "post_attention_norm.weight", "post_ffw_norm.weight"},
    }
    assert {f"blk.0.{name}" for name in theirs.get(family, set())} <= tensors.keys()
    for name, tensor in tensors.items():
        if name.endswith(("norm.weight", ".bias")):
            assert tensor.type == "F32"
    gain = model.params["blocks.1.norm_2.gain"]
    np.testing.assert_array_equal(tensors["blk.1.ffn_norm.weight"].read(), gain)


@pytest.mark.parametrize("family", IN_GGUF)
def test_quantised_weights_stay_quantised(tmp_path, family):
    """Their products are the dequantised ones, with a bias, too; ours are read by the config.

    Activations of float64 are not rounded: a small random Gemma would multiply these errors.
    """
    path = make_gguf(tmp_path / "a.gguf", new(family, tied=False), "Q8_0")
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


# --- config.json -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("mistral", {"context": 5000, "window": 4096, "key_heads": 8, "heads": 8, "tied": False}),
        ("qwen2", {"tied": False}),
        ("qwen3", {"tied": False, "head_width": 128, "heads": 1, "key_heads": 1}),
        ("smollm3", {"rotary_base": 2e6}),
        (
            "gemma3",
            {"context": 5000, "window": 4096, "head_width": 256, "rotary_base": 1e6}
            | {"heads": 1, "key_heads": 1},
        ),
        ("phi3", {"window": None, "eps": 1e-5, "tied": False}),
    ],
)
def test_entries_that_are_missing_have_the_defaults_of_transformers(tmp_path, family, options):
    model = new(family, layers=2, **options)
    missing = {
        "rope_theta",
        "rope_scaling",
        "rms_norm_eps",
        "tie_word_embeddings",
    }
    missing |= {"sliding_window", "hidden_act", "hidden_activation", "use_sliding_window"}
    missing |= {"layer_types", "no_rope_layers", "rope_local_base_freq", "architectures"}
    if options.get("heads") == 8 or family == "smollm3":  # of keys there are as many by default
        missing |= {"num_key_value_heads"} if family != "smollm3" else set()
    if "head_width" in options:
        missing |= {"head_dim", "query_pre_attn_scalar"}
    assert_equal(read(make(tmp_path / "a", model, missing)), model)


def test_a_window_that_hides_no_token_is_none(tmp_path):
    model = new("phi3", window=None)
    assert_equal(read(make(tmp_path / "a", model, sliding_window=16)), model)
    make_gguf(tmp_path / "a.gguf", model, **{"phi3.attention.sliding_window": 16})
    assert_equal(import_gguf(tmp_path / "a.gguf")[0], model)
    make_gguf(tmp_path / "a.gguf", model, **{"phi3.attention.sliding_window": None})
    assert_equal(import_gguf(tmp_path / "a.gguf")[0], model)


def test_the_angles_of_gemma_in_either_version(tmp_path):
    """``rope_theta`` and ``rope_local_base_freq``, or an object for each type of layer."""
    model = new("gemma3", rotary_base=3e5, local_base=200.0)
    angles = {
        "full_attention": {"rope_type": "default", "rope_theta": 3e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 200.0},
    }
    old = ("rope_theta", "rope_local_base_freq", "rope_scaling")
    assert_equal(read(make(tmp_path / "a", model, old, rope_parameters=angles)), model)
    del angles["sliding_attention"]["rope_theta"]
    model = new("gemma3", rotary_base=3e5)
    assert_equal(read(make(tmp_path / "b", model, old, rope_parameters=angles)), model)
    angles["sliding_attention"] |= {"rope_type": "linear", "factor": 2.0}
    path = make(tmp_path / "c", model, old, rope_parameters=angles)
    with pytest.raises(InputError, match="sliding_attention: rope_type: expected 'default'"):
        read(path)
    path = make(tmp_path / "d", model, old, rope_parameters={"full_attention": 3})
    with pytest.raises(InputError, match="rope_parameters: expected an object for each type of l"):
        read(path)


def test_scaled_angles_are_those_of_whole_layers(tmp_path):
    model = new("gemma3", rotary_base=1e6, rope_scaling=Linear(8.0))
    path = make(
        tmp_path / "a", model, ("rope_theta",), rope_scaling={"type": "linear", "factor": 8}
    )
    assert_equal(read(path), model)
    angles = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}}
    without = ("rope_theta", "rope_scaling")
    assert_equal(read(make(tmp_path / "b", model, without, rope_parameters=angles)), model)
    assert model.config.rotation_of(0) == (10000.0, None)


def test_the_layers_of_gemma_in_either_version(tmp_path):
    model = new("gemma3", global_every=3)
    name = "sliding_window_pattern"
    for number, (without, entries) in enumerate(
        ((("layer_types",), {}), ((name,), {f"_{name}": 3}), (("layer_types", name), {}))
    ):
        path = make(tmp_path / str(number), model, without, **entries)
        assert read(path).config.global_every == (6 if name in without and not entries else 3)


def test_a_gemma_whose_layers_are_all_alike(tmp_path):
    """Each whole or each local, with the same angles."""
    ids = np.arange(9)[None]
    for window, types in ((None, "full_attention"), (3, "sliding_attention")):
        model = new("gemma3", global_every=0, window=window, local_base=7.0)
        path = make(tmp_path / types, model)
        assert set(json.loads((path / "config.json").read_text())["layer_types"]) == {types}
        np.testing.assert_array_equal(read(path).forward(ids)[0], model.forward(ids)[0])
        again = import_gguf(make_gguf(tmp_path / "a.gguf", model))[0]
        np.testing.assert_array_equal(again.forward(ids)[0], model.forward(ids)[0])


def test_layers_without_rotation_in_either_form(tmp_path):
    model = new("smollm3", unrotated_every=3)
    assert_equal(read(make(tmp_path / "a", model, ("no_rope_layers",))), model)
    rotated = [1, 1, 0, 1, 1, 0, 1, 1, 0, 0]  # more than layers
    assert_equal(read(make(tmp_path / "b", model, no_rope_layers=rotated)), model)


def test_the_windows_of_gemma_in_gguf_files(tmp_path):
    """As in llama.cpp: by default every sixth layer is whole, and all are if there is no window."""
    prefix, path = "gemma3.attention.sliding_window", tmp_path / "a.gguf"

    def config(**metadata):
        make_gguf(path, new("gemma3", rotary_base=1e6), **metadata)
        return import_gguf(path)[0].config

    usual = config(**{f"{prefix}_pattern": None, "gemma3.rope.freq_base_swa": None})
    assert usual == new("gemma3", rotary_base=1e6).config
    assert config(**{f"{prefix}_pattern": 3}).global_every == 3
    with pytest.raises(InputError, match="window_pattern: expected a whole number from 1 up"):
        config(**{f"{prefix}_pattern": np.zeros(8, bool)})
    for without in (None, 0):
        whole = config(**{prefix: without})
        assert {whole.rotation_of(layer) for layer in range(8)} == {(1e6, None)}
        assert {whole.mask_of(layer).window for layer in range(8)} == {None}
    make_gguf(path, new("gemma3", window=None))
    assert_equal(import_gguf(path)[0], new("gemma3", window=None))  # only the angles differ


REFUSED = [
    ("gemma3", {"model_type": "gemma3"}, "model_type: expected 'gpt2' or 'llama'"),
    ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping: expected None, fou"),
    ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping: expected None, found"),
    ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention: expected Fal"),
    ("gemma3", {"hidden_activation": "silu"}, "hidden_activation: expected 'gelu_pytorch_tanh'"),
    ("gemma3", {"query_pre_attn_scalar": 2}, "query_pre_attn_scalar: expected 8, as head_dim, fo"),
    ("gemma3", {"layer_types": ["full_attention"]}, "layer_types: expected 'full_attention' for"),
    (
        "gemma3",
        {"layer_types": ["full_attention", *["sliding_attention"] * 7]},
        "layer_types: expected 'full_attention' for every layer of number 6, 2 6 and so on",
    ),
    ("gemma3", {"rope_local_base_freq": 0}, "config.json: local_base: expected a finite number"),
    ("gemma3", {"sliding_window": 0}, "sliding_window: expected a whole number from 1 up, found"),
    ("smollm3", {"no_rope_layers": [0, 1] * 4}, "no_rope_layers: expected 0 for every layer of"),
    ("smollm3", {"use_sliding_window": True}, "use_sliding_window: expected False, found True"),
    ("qwen2", {"use_sliding_window": True}, "use_sliding_window: expected False, found True"),
    ("qwen2", {"layer_types": ["sliding_attention"] * 8}, "layer_types: expected 'full_attention'"),
    ("mistral", {"hidden_act": "gelu"}, "hidden_act: expected 'silu' or 'swish', found 'gelu'"),
    ("mistral", {"sliding_window": "a"}, "sliding_window: expected a whole number from 1 up"),
    ("phi3", {"partial_rotary_factor": 0.75}, "partial_rotary_factor: expected 1.0 or None, foun"),
]


@pytest.mark.parametrize(("family", "changes", "message"), REFUSED)
def test_what_cannot_be_run_is_refused_by_name(tmp_path, family, changes, message):
    path = make(tmp_path / "a", new(family), **changes)
    with pytest.raises(InputError) as refused:
        huggingface.read(path)
    assert message in refused.value.args[0]
    assert "\n" not in refused.value.args[0]


REFUSED_GGUF = [
    ("qwen3", {"qwen3.attention.causal": False}, "qwen3.attention.causal: expected True"),
    ("gemma3", {"gemma3.final_logit_softcapping": 30.0}, "final_logit_softcapping: expected 0, "),
    ("phi3", {"phi3.rope.dimension_count": 6}, "dimension_count: expected 8, the width of a head"),
    ("phi3", {"phi3.attention.sliding_window": -1}, "sliding_window: expected a whole number fr"),
    ("smollm3", {"general.architecture": "qwen3"}, "qwen3.context_length: expected a whole numb"),
]


@pytest.mark.parametrize(("family", "metadata", "message"), REFUSED_GGUF)
def test_gguf_files_that_cannot_be_run_are_refused(tmp_path, family, metadata, message):
    make_gguf(tmp_path / "a.gguf", new(family), **metadata)
    with pytest.raises(InputError) as refused:
        import_gguf(tmp_path / "a.gguf")
    assert message in refused.value.args[0]


def test_tensors_of_another_family_are_refused(tmp_path):
    path = make(tmp_path / "a", new("qwen3"), ("use_sliding_window",))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"model_type": "mistral"}))
    with pytest.raises(InputError, match="architectures: expected MistralForCausalLM or Mistral"):
        read(path)
    config |= {"model_type": "mistral", "architectures": None}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"k_norm.weight': the model has no tensor"):
        read(path)
    make_gguf(tmp_path / "a.gguf", new("qwen3"))
    data = (tmp_path / "a.gguf").read_bytes().replace(b"qwen3", b"qwen2")
    (tmp_path / "a.gguf").write_bytes(data)
    with pytest.raises(InputError, match=r"the tensor blk.0.attn_q.bias is missing"):
        import_gguf(tmp_path / "a.gguf")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_command_line(tmp_path, capsys, family):
    """Imported, written with, and exported: to an equal folder, and to a GGUF file."""
    source, run, again = (tmp_path / name for name in ("source", "run", "again"))
    make(source, new(family))
    assert main(["import", str(source), "--out", str(run)]) == 0
    assert "weights in 8 layers" in capsys.readouterr().out
    opened = minillm.load(run)
    assert (opened.kind.name, opened.model.config) == ("decoder", new(family).config)
    text = "".join(opened.write("she", length=20, seed=0))
    assert main(["export", str(run), str(again)]) == 0
    for file in source.iterdir():
        assert json.loads((again / "config.json").read_text()) == json.loads(
            (source / "config.json").read_text()
        )
        if file.name not in ("config.json", "tokenizer.json"):
            assert (again / file.name).read_bytes() == file.read_bytes()
    values = json.loads((again / "tokenizer.json").read_text())
    assert values == load_tokenizer(source).values  # with all defaults
    if family not in IN_GGUF:
        return
    assert main(["export", str(run), str(tmp_path / "a.gguf")]) == 0
    assert main(["import", str(tmp_path / "a.gguf"), "--out", str(run), "--overwrite"]) == 0
    assert "".join(minillm.load(run).write("she", length=20, seed=0)) == text


def test_a_new_family_is_a_row_in_three_tables(tmp_path, monkeypatch):
    changes = Changes(bias=True, head_norms=True, windows=True, global_every=2, four_norms=True)
    names = {
        "blocks.*.attention.norm": "layers.*.attn_norm",
        "blocks.*.feed_forward.norm": "layers.*.ffn_norm",
    }
    monkeypatch.setitem(FAMILIES, "toy", changes)
    gemma = layout_of(new("gemma3"))
    toy = replace(
        gemma, model_type="toy", family="toy", classes=("Toy",), names={**LLAMA.names, **names}
    )
    monkeypatch.setattr(huggingface, "LAYOUTS", (*huggingface.LAYOUTS, toy))
    monkeypatch.setitem(ARCHITECTURES, "toy", Architecture("toy"))
    model, path = new("toy", window=5), tmp_path / "a"
    make(path, model)
    assert_equal(huggingface.read(path).model, model)
    make_gguf(tmp_path / "a.gguf", model)
    assert_equal(import_gguf(tmp_path / "a.gguf")[0], model)


def test_every_family_has_files():
    assert {one.family for one in RELATIVES} == FAMILIES.keys()
    assert ARCHITECTURES.keys() == {"llama", *FAMILIES}


def test_a_special_token_without_a_row_is_left_out(tmp_path):
    """As Gemma 3's for images."""
    tokenizer = of_pieces({"▁": 0, "a": 0})
    longer, texts = of_pieces({"▁": 0, "a": 0}, ["<image>"]), tokenizer.texts
    sizes = {"context": 8, "layers": 1, "heads": 2, "width": 8, "family": "gemma3"}
    model = Decoder(DecoderConfig(len(texts), **sizes), np.random.default_rng(0))
    huggingface.write(Contents(model, longer), tmp_path / "gemma")
    found = huggingface.read(tmp_path / "gemma")
    assert found.tokenizer.values == tokenizer.values
    smaller = Decoder(DecoderConfig(len(texts) - 1, **sizes), np.random.default_rng(0))
    huggingface.write(Contents(smaller, tokenizer), tmp_path / "smaller")
    with pytest.raises(InputError, match="but the tokenizer has 261 tokens"):
        huggingface.read(tmp_path / "smaller")
