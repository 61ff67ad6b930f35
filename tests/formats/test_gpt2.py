"""GPT-2 in transformers' format: read in every form that it comes in, damage, written."""

import json
import struct

import numpy as np
import pytest
from other_programs import export_folder, import_folder
from published import old_files
from safetensors.numpy import save_file

from minillm.errors import InputError
from minillm.models.gpt import GPT, GPTConfig
from minillm.text import Characters
from minillm.text.byte_pairs import train

TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
V, C, D, LAYERS = 262, 8, 6, 2
CONFIG = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": V,
    "n_positions": C,
    "n_embd": D,
    "n_layer": LAYERS,
    "n_head": 3,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "n_inner": None,
    "resid_pdrop": 0.25,
    "bos_token_id": 50256,
}
OUTSIDE = {
    "wte.weight": ("embedding.E", (V, D)),
    "wpe.weight": ("positions.E", (C, D)),
    "ln_f.weight": ("norm.gain", (D,)),
    "ln_f.bias": ("norm.bias", (D,)),
}
BLOCK = {
    "ln_1.weight": ("norm_1.gain", (D,)),
    "ln_1.bias": ("norm_1.bias", (D,)),
    "attn.c_attn.weight": ("attention.W_qkv", (D, 3 * D)),
    "attn.c_attn.bias": ("attention.b_qkv", (3 * D,)),
    "attn.c_proj.weight": ("attention.W_o", (D, D)),
    "attn.c_proj.bias": ("attention.b_o", (D,)),
    "ln_2.weight": ("norm_2.gain", (D,)),
    "ln_2.bias": ("norm_2.bias", (D,)),
    "mlp.c_fc.weight": ("feed_forward.W_1", (D, 4 * D)),
    "mlp.c_fc.bias": ("feed_forward.b_1", (4 * D,)),
    "mlp.c_proj.weight": ("feed_forward.W_2", (4 * D, D)),
    "mlp.c_proj.bias": ("feed_forward.b_2", (D,)),
}
NAMES = OUTSIDE | {
    f"h.{layer}.{theirs}": (f"blocks.{layer}.{ours}", shape)
    for layer in range(LAYERS)
    for theirs, (ours, shape) in BLOCK.items()
}


def weights(prefix="transformer."):
    """Numbers of seven bits, for bfloat16 has eight: the same in every dtype."""
    rng = np.random.default_rng(0)
    return {
        prefix + name: rng.integers(-127, 128, shape).astype(np.float32) / 64
        for name, (_, shape) in NAMES.items()
    }


def make(path, tensors=None, config=CONFIG, **changes):
    """A folder as transformers writes it, with a tokenizer of byte pairs."""
    export_folder(GPT(GPTConfig(V, C, 1, 1, 2), np.random.default_rng(0)), TOKENIZER, path)
    (path / "config.json").write_text(json.dumps(config | changes))
    save_file(weights() if tensors is None else tensors, path / "model.safetensors")
    return path


def shard(path, tensors):
    """The same in two files with an index."""
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, path / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "model.safetensors").unlink()
    return path / "model.safetensors.index.json"


def save_bfloat16(path, tensors):
    """By hand, for NumPy has no bfloat16: the upper halves of float32's bits."""
    header, data = {}, b""
    for name, array in tensors.items():
        half = (array.view("<u4") >> 16).astype("<u2").tobytes()
        offsets = [len(data), len(data) + len(half)]
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": offsets}
        data += half
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def check(path):
    """That each weight is in its place."""
    model, tokenizer = import_folder(path)
    assert model.config == GPTConfig(V, C, LAYERS, 3, D, dropout=0.25)
    assert tokenizer.tokens == TOKENIZER.tokens
    expected = weights("")
    assert model.params.keys() == {ours for ours, _ in NAMES.values()}
    for theirs, (ours, _) in NAMES.items():
        assert model.params[ours].dtype == np.float32
        np.testing.assert_array_equal(model.params[ours], expected[theirs], err_msg=ours)
    return model


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_with_and_without_prefix_masks_and_output(tmp_path, prefix):
    tensors = weights(prefix)
    tensors[f"{prefix}h.0.attn.bias"] = np.tril(np.ones((1, 1, C, C), np.uint8))
    tensors[f"{prefix}h.1.attn.masked_bias"] = np.array(-1e4, np.float32)
    tensors["lm_head.weight"] = tensors[f"{prefix}wte.weight"].copy()
    model = check(make(tmp_path / "gpt2", tensors, tie_word_embeddings=False))
    model.forward(np.arange(5)[None])


def test_float16(tmp_path):
    check(make(tmp_path / "gpt2", {n: a.astype(np.float16) for n, a in weights().items()}))


def test_bfloat16(tmp_path):
    path = make(tmp_path / "gpt2")
    save_bfloat16(path / "model.safetensors", weights())
    check(path)


def test_several_files(tmp_path):
    path = make(tmp_path / "gpt2")
    shard(path, weights())
    check(path)


def test_unknown_entries_are_ignored(tmp_path):
    """Names of GPT-2, and of transformers 5."""
    import_folder(make(tmp_path / "a", n_ctx=8, summary_type="cls_index", dtype="float32", more=3))


def test_an_older_config(tmp_path):
    """Nothing of what has a default."""
    left = ("activation_function", "layer_norm_epsilon", "n_inner", "architectures")
    config = {name: value for name, value in CONFIG.items() if name not in left}
    check(make(tmp_path / "gpt2", config=config))


# --- damage ------------------------------------------------------------------------------------


def refusal(path):
    """The message, which names the folder in each line."""
    with pytest.raises(InputError) as caught:
        import_folder(path)
    message = str(caught.value)
    assert all(str(path) in reason and "\n" not in reason for reason in caught.value.args)
    return message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "model_type: expected 'gpt2' or 'llama' or 'mistral' or"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "architectures: expected GPT2LM"),
        ({"architectures": 3}, "architectures: expected GPT2LM"),
        ({"is_causal": False}, "is_causal: expected True, found False"),
        ({"quantization_config": {}}, "quantization_config: expected None, found {}"),
        ({"activation_function": "relu"}, "activation_function: expected 'gelu_new' or"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon: expected 1e-05, found 1e-06"),
        ({"scale_attn_weights": False}, "scale_attn_weights: expected True, found False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx: expected False"),
        ({"n_embd": 8}, "heads: expected a divisor of width, found 3 and 8"),
        ({"n_embd": 9}, "wte.weight: expected shape (262, 9), found (262, 6)"),
        ({"n_layer": 3}, "the tensor h.2.attn.c_attn.weight is missing"),
        ({"n_layer": 10**12}, "layers: expected 10,000 or less"),
        ({"n_layer": 1}, "the model has no tensor"),
        ({"n_positions": 1}, "context: expected 2 or more, found 1"),
        ({"vocab_size": 9}, "config.json says vocab_size 9, but the tokenizer has 262 tokens"),
        ({"resid_pdrop": 1.0}, "dropout: expected 0 or more and below 1, found 1.0"),
        ({"tie_word_embeddings": False}, "the tensor lm_head.weight is missing"),
    ],
)
def test_another_model(tmp_path, changes, message):
    assert message in refusal(make(tmp_path / "gpt2", **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json: there is no such file"),
        (b"{", "config.json: expected JSON, but it is damaged"),
        (b'{"a": "\xff"}', "config.json: expected JSON, but it is damaged"),
        (b"[" * 100_000, "config.json: expected JSON, but it is damaged"),
        (b"[1]", "config.json: expected a JSON object, found [1]"),
        (b"{}", "config.json: model_type: expected 'gpt2' or 'llama' or"),
    ],
)
def test_a_damaged_config(tmp_path, content, message):
    path = make(tmp_path / "gpt2")
    (path / "config.json").unlink()
    if content is not None:
        (path / "config.json").write_bytes(content)
    assert message in refusal(path)


@pytest.mark.parametrize("name", ["n_embd", "vocab_size", "n_layer", "n_head"])
@pytest.mark.parametrize("digits", [100, 4300, 4301])
def test_a_number_of_very_many_digits(tmp_path, name, digits):
    path = make(tmp_path / "gpt2", **{"n_inner": 4 * D, name: "@"})
    text = (path / "config.json").read_text().replace('"@"', "9" * digits)
    (path / "config.json").write_text(text)
    message = refusal(path)
    assert all(len(line) < 400 for line in message.splitlines())
    expected = f"{name}: expected a whole number" if digits <= 4300 else "expected JSON"
    assert f"config.json: {expected}" in message


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("h.1.mlp.c_fc.bias", None, "the tensor h.1.mlp.c_fc.bias is missing"),
        ("ln_f.bias", np.zeros(D - 1, np.float32), "ln_f.bias: expected shape (6,), found (5,)"),
        ("ln_f.bias", np.zeros(D, np.int32), "ln_f.bias: expected float32 or float16 or bfloat16"),
        ("ln_f.bias", np.full(D, np.nan, np.float32), "expected finite weights, found others in"),
        ("score.weight", np.zeros(D, np.float32), "'score.weight': the model has no tensor"),
        ("h.0.attn.bias_2", np.zeros(D, np.float32), "'h.0.attn.bias_2': the model has no tensor"),
        (
            "h.2.ln_1.bias",
            np.zeros(D, np.float32),
            "'h.2.ln_1.bias': the model has no tensor",
        ),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, name, array, message):
    tensors = weights()
    tensors.pop(f"transformer.{name}", None)
    if array is not None:
        tensors[f"transformer.{name}"] = array
    assert message in refusal(make(tmp_path / "gpt2", tensors))


def test_a_tensor_with_and_without_prefix(tmp_path):
    tensors = weights() | {"ln_f.bias": np.zeros(D, np.float32)}
    assert "it has 'ln_f.bias' under two names" in refusal(make(tmp_path / "gpt2", tensors))


def test_damaged_indices(tmp_path):
    path = make(tmp_path / "gpt2")
    index = shard(path, weights())
    values = json.loads(index.read_text())
    some = "transformer.ln_f.bias"

    def refused(weight_map):
        index.write_text(json.dumps({"weight_map": weight_map}))
        return refusal(path)

    assert "expected an object 'weight_map'" in refused(None)
    assert "expected an object 'weight_map'" in refused({some: 1})
    weight_map = values["weight_map"]
    assert "c.safetensors: there is no such file" in refused(weight_map | {some: "c.safetensors"})
    outside = weight_map | {some: "../gpt2/a.safetensors"}
    assert "files in the same folder, found '../gpt2/a.safetensors'" in refused(outside)
    assert "found 'xxxx" in refused(weight_map | {some: "x" * 5000})
    assert r"found '\n'" in refused(weight_map | {some: "\n"})
    assert r"the tensor 'a\nb' is missing" in refused(weight_map | {"a\nb": weight_map[some]})
    elsewhere = {"a.safetensors": "b.safetensors", "b.safetensors": "a.safetensors"}
    wrong = weight_map | {some: elsewhere[weight_map[some]]}
    assert f"the tensor '{some}' is missing" in refused(wrong)
    assert "ln_f.bias is missing" in refused({n: f for n, f in weight_map.items() if n != some})
    index.write_text("{")
    assert "model.safetensors.index.json: expected JSON" in refusal(path)


def test_a_damaged_tokenizer(tmp_path):
    path = make(tmp_path / "gpt2")
    (path / "tokenizer.json").write_text("{")
    assert "tokenizer.json: expected JSON" in refusal(path)


# --- writing -----------------------------------------------------------------------------------


def new(**sizes):
    return GPT(
        GPTConfig(V, **{"context": C, "layers": 3, "heads": 2, "width": D, "dropout": 0.1} | sizes),
        np.random.default_rng(1),
    )


def test_written_and_read_back(tmp_path):
    model, path = new(), tmp_path / "out"
    path.mkdir()  # an empty folder may be there
    export_folder(model, TOKENIZER, path)
    again, tokenizer = import_folder(path)
    assert again.config == model.config
    assert tokenizer.tokens == TOKENIZER.tokens
    assert again.params.keys() == model.params.keys()
    for name, array in model.params.items():
        np.testing.assert_array_equal(again.params[name], array)
    # The folder has nothing else, and nothing is beside it.
    names = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in path.iterdir()} == names
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_byte_pairs(tmp_path, name):
    """Each form of their files is enough."""
    model = GPT(GPTConfig(V, C, 1, 2, D), np.random.default_rng(0))
    path = tmp_path / "out"
    export_folder(model, TOKENIZER, path)
    if name == "vocab.json":
        (path / "tokenizer.json").unlink()
        for file, content in old_files(TOKENIZER).items():
            (path / file).write_bytes(content)
    again, read = import_folder(path)
    assert (read.tokens, read.bos) == (TOKENIZER.tokens, 261)
    assert read.encode("she sells").tolist() == TOKENIZER.encode("she sells").tolist()
    assert again.config == model.config
    config = json.loads((path / "config.json").read_text())
    assert config["bos_token_id"] == config["eos_token_id"] == 261
    settings = json.loads((path / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["eos_token"] == "<|endoftext|>"
    assert settings["model_max_length"] == C


def test_a_template_that_adds_nothing_or_a_token(tmp_path):
    """The first is what transformers 5 writes for a GPT-2."""
    export_folder(new(), TOKENIZER, tmp_path / "out")
    file = tmp_path / "out" / "tokenizer.json"
    values = json.loads(file.read_text())
    single = [{"Sequence": {"id": "A", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}}
    file.write_text(json.dumps(values | {"post_processor": template}))
    assert import_folder(tmp_path / "out")[1].tokens == TOKENIZER.tokens
    cls = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
    template["single"] = [cls, cls, *single]
    template["special_tokens"] = {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}}
    file.write_text(json.dumps(values | {"post_processor": template}))
    assert "post_processor: expected one token at most before a text" in refusal(tmp_path / "out")


def test_the_config_that_is_written(tmp_path):
    export_folder(new(), TOKENIZER, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": V,
        "n_positions": C,
        "n_embd": D,
        "n_layer": 3,
        "n_head": 2,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.0,
        "bos_token_id": 261,
        "eos_token_id": 261,
        "pad_token_id": None,
    }


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    path = tmp_path / "out"
    monkeypatch.setattr("minillm.formats.folder.write_tensors", full)
    with pytest.raises(OSError, match="No space") as caught:
        export_folder(new(), TOKENIZER, path)
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="expected the name of a new folder, but it exists"):
        export_folder(new(), TOKENIZER, tmp_path)
    with pytest.raises(InputError, match="expected the name of a new folder, but it exists"):
        export_folder(new(), TOKENIZER, tmp_path / "file")
    with pytest.raises(InputError, match="expected the name of a folder, found an empty one"):
        export_folder(new(), TOKENIZER, "")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_vocabulary_that_transformers_lacks(tmp_path):
    with pytest.raises(InputError, match="transformers has no tokenizer that splits a text into c"):
        export_folder(new(), Characters(["a", "b"]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
