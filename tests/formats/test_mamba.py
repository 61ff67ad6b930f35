"""Mamba in transformers' format: read, damage, written; values of theirs, frozen and computed."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minillm.decoding import Reader
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents
from minillm.models.mamba import Mamba, MambaConfig
from minillm.text.byte_pairs import train

TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
V, FROZEN_V = 262, 50
TINY = {"layers": 2, "width": 6, "inner": 10, "state": 3, "convolution": 3, "rank": 2}
FROZEN = {
    "model_type": "mamba",
    "vocab_size": FROZEN_V,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "state_size": 3,
    "conv_kernel": 3,
    "intermediate_size": 12,
    "time_step_rank": 2,
    "layer_norm_epsilon": 1e-3,
}


def new(**sizes):
    rng = np.random.default_rng(1)
    model = Mamba(MambaConfig(V, **TINY | sizes), rng)
    for array in model.params.values():
        array += (0.3 * rng.standard_normal(array.shape)).astype(np.float32)
    return model


def write(model, folder, tokenizer=TOKENIZER):
    huggingface.write(Contents(model, tokenizer), folder)
    return folder


def change(folder, **changes):
    """The folder with other entries in config.json; None: without the entry."""
    file = folder / "config.json"
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({n: value for n, value in values.items() if value is not None}))
    return folder


def assert_same(found, model):
    assert found.config == model.config
    assert found.params.keys() == model.params.keys()
    for name, array in model.params.items():
        assert found.params[name].dtype == np.float32
        np.testing.assert_array_equal(found.params[name], array, err_msg=name)


# --- written and read -----------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{}, {"tied": False, "eps": 1e-3}])
def test_written_and_read_back(tmp_path, sizes):
    model = new(**sizes)
    found = huggingface.read(write(model, tmp_path / "out"))
    assert_same(found.model, model)
    assert found.tokenizer.tokens == TOKENIZER.tokens
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert "model_max_length" not in settings  # it reads texts of any length


def test_the_tensors_that_are_written(tmp_path):
    model = new()
    tensors = load_file(write(model, tmp_path / "out") / "model.safetensors")
    assert "lm_head.weight" not in tensors
    one, p = "backbone.layers.1.mixer", {n: w for n, w in model.params.items() if "1." in n}
    W = tensors[f"{one}.conv1d.weight"]
    assert W.shape == (10, 1, 3)
    np.testing.assert_array_equal(W[:, 0].T, p["layers.1.convolution.W"])
    np.testing.assert_array_equal(tensors[f"{one}.A_log"], p["layers.1.A_log"])
    np.testing.assert_array_equal(tensors[f"{one}.x_proj.weight"].T, p["layers.1.selection.W"])
    np.testing.assert_array_equal(tensors[f"{one}.D"], p["layers.1.skip"])


def test_the_config_that_is_written(tmp_path):
    config = json.loads((write(new(), tmp_path / "out") / "config.json").read_text())
    assert config == {
        "model_type": "mamba",
        "architectures": ["MambaForCausalLM"],
        "vocab_size": V,
        "hidden_size": 6,
        "num_hidden_layers": 2,
        "intermediate_size": 10,
        "state_size": 3,
        "conv_kernel": 3,
        "time_step_rank": 2,
        "hidden_act": "silu",
        "layer_norm_epsilon": 1e-5,
        "residual_in_fp32": True,
        "tie_word_embeddings": True,
        "bos_token_id": 261,
        "eos_token_id": 261,
        "pad_token_id": None,
    }


@pytest.mark.parametrize(("inner", "expand"), [(6, 1), (12, 2), (24, 4), (5, None), (10, None)])
def test_the_inner_width_is_written_twice(tmp_path, inner, expand):
    """Some programs read it, others the multiple of the width."""
    config = json.loads((write(new(inner=inner), tmp_path / "out") / "config.json").read_text())
    assert (config["intermediate_size"], config.get("expand")) == (inner, expand)
    if expand:
        folder = change(tmp_path / "out", intermediate_size=None)
        assert huggingface.read(folder).model.config.inner == inner


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_the_older_name_of_the_embedding_and_an_output(tmp_path, prefix):
    folder = write(new(), tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    tensors = {name.removeprefix("backbone."): array for name, array in tensors.items()}
    tensors["embedding.weight"] = tensors.pop("embeddings.weight")
    tensors = {prefix + name: array for name, array in tensors.items()}
    tensors["lm_head.weight"] = tensors[f"{prefix}embedding.weight"].copy()
    save_file(tensors, folder / "model.safetensors")
    assert_same(huggingface.read(folder).model, new())


def test_sizes_that_a_config_leaves_out(tmp_path):
    model = new(inner=18, state=16, convolution=4, rank=None)
    folder = write(model, tmp_path / "out")
    change(
        folder, intermediate_size=None, expand=3, state_size=None, conv_kernel=None,
        time_step_rank="auto", layer_norm_epsilon=None, tie_word_embeddings=None,
    )  # fmt: skip
    assert_same(huggingface.read(folder).model, model)


# --- damage ---------------------------------------------------------------------------------------


def refusal(folder):
    with pytest.raises(InputError) as caught:
        huggingface.read(folder)
    assert all(str(folder) in reason and "\n" not in reason for reason in caught.value.args)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba2"}, "model_type: expected 'gpt2' or 'llama'"),
        ({"hidden_act": "gelu"}, "hidden_act: expected 'silu' or 'swish', found 'gelu'"),
        ({"state_size": 4}, "x_proj.weight: expected shape (10, 10), found (8, 10)"),
        ({"conv_kernel": 4}, "conv1d.weight: expected shape (10, 1, 4), found (10, 1, 3)"),
        ({"conv_kernel": 1}, "convolution: expected 2 or more, found 1"),
        ({"time_step_rank": "x"}, "time_step_rank: expected a whole number from 1 up, found 'x'"),
        ({"expand": 2.5}, "expand: expected a whole number from 1 up, found 2.5"),
    ],
)
def test_another_model(tmp_path, changes, message):
    assert message in refusal(change(write(new(), tmp_path / "out"), **changes))


def test_kernels_of_another_shape(tmp_path):
    folder = write(new(), tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    name = "backbone.layers.0.mixer.conv1d.weight"
    tensors[name] = tensors[name][:, 0].copy()  # without their axis of inputs
    save_file(tensors, folder / "model.safetensors")
    assert "conv1d.weight: expected shape (10, 1, 3), found (10, 3)" in refusal(folder)


# --- transformers ---------------------------------------------------------------------------------


def logits_of(model, ids):
    return model.forward(ids, model.zero_state(len(ids)))[0][0]


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_frozen(tmp_path, monkeypatch, dtype):
    """They compute in float32."""
    monkeypatch.setattr(huggingface, "load_tokenizer", lambda folder: range(FROZEN_V))
    frozen = np.load(Path(__file__).with_name("frozen_mamba.npz"))
    groups = {"weight": {}, "gradient": {}}
    for entry in frozen.files:
        if "/" in entry:
            role, name = entry.split("/")
            groups[role][name] = frozen[entry]
    (tmp_path / "config.json").write_text(json.dumps(FROZEN))
    save_file(groups["weight"], tmp_path / "model.safetensors")
    read = huggingface.read(tmp_path).model
    model = Mamba(read.config, params={n: p.astype(dtype) for n, p in read.params.items()})
    ids = frozen["ids"]
    np.testing.assert_allclose(logits_of(model, ids[:, :-1]), frozen["logits"], rtol=0, atol=1e-5)
    loss, backward = model.loss((ids[:, :-1], ids[:, 1:]))
    assert float(loss) == pytest.approx(float(frozen["loss"]), rel=1e-6)
    # The gradients have names and layout of the weights: they go the same way.
    save_file(groups["gradient"], tmp_path / "model.safetensors")
    expected = huggingface.read(tmp_path).model.params
    scale = max(np.abs(array).max() for array in expected.values())
    gradients = backward()
    assert gradients.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(gradients[name], array, atol=3e-6 * scale, rtol=0, err_msg=name)


def in_double(model):
    return Mamba(model.config, params={n: p.astype(np.float64) for n, p in model.params.items()})


def theirs(**changes):
    """A random Mamba of transformers."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {name: value for name, value in FROZEN.items() if name != "model_type"}
    sizes |= {"vocab_size": V, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def their_logits(model, ids):
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()


CHANGES = [
    {},
    {"tie_word_embeddings": False, "intermediate_size": 13, "layer_norm_epsilon": 1e-5},
    {"time_step_rank": "auto", "conv_kernel": 4, "state_size": 16, "hidden_size": 32},
    {"intermediate_size": 8, "expand": 1, "state_size": 1, "conv_kernel": 2, "time_step_rank": 1},
    {"intermediate_size": 32, "expand": 4, "state_size": 33, "time_step_rank": 9},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_their_folder_imports_and_exports(tmp_path, changes):
    other = theirs(**changes)
    from transformers import AutoTokenizer, MambaForCausalLM

    first, again = tmp_path / "first", tmp_path / "again"
    write(new(), first)  # for its tokenizer
    (first / "model.safetensors").unlink()
    other.save_pretrained(first)
    found = huggingface.read(first)
    ids = np.random.default_rng(0).integers(0, V, (3, 30))
    # In float32, either program is up to 1.5e-5 from the exact logits, which are as large as 9.
    expected = their_logits(other.double(), ids)
    model = in_double(found.model)
    np.testing.assert_allclose(logits_of(model, ids), expected, rtol=0, atol=1e-5)
    reader = Reader(model)  # a prompt, then token by token
    after, state = reader.read(ids[:, :11], reader.zero_state(3))
    for t in range(11, 30):
        np.testing.assert_allclose(after, expected[:, t - 1], rtol=0, atol=1e-5)
        after, state = reader.read(ids[:, t : t + 1], state)

    huggingface.write(found, again)
    loaded, notes = MambaForCausalLM.from_pretrained(again, output_loading_info=True)
    assert not any(notes.values())
    np.testing.assert_array_equal(their_logits(loaded.double(), ids), expected)
    assert "expand" not in changes or loaded.config.expand == changes["expand"]
    text = "she sells 日本"
    read = AutoTokenizer.from_pretrained(again)
    assert read(text)["input_ids"] == TOKENIZER.encode(text).tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_shards_in_half_precision(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    other, folder = theirs(tie_word_embeddings=False), tmp_path / "theirs"
    write(new(), folder)  # for its tokenizer
    (folder / "model.safetensors").unlink()
    other.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="5KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    found = in_double(huggingface.read(folder).model)
    ids = np.random.default_rng(0).integers(0, V, (2, 20))
    expected = their_logits(other.double(), ids)
    np.testing.assert_allclose(logits_of(found, ids), expected, rtol=0, atol=1e-5)


def test_a_model_of_ours_is_theirs(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = new(tied=False)
    loaded = transformers.MambaForCausalLM.from_pretrained(write(model, tmp_path / "out")).eval()
    ids = np.random.default_rng(0).integers(0, V, (2, 20))
    np.testing.assert_allclose(their_logits(loaded, ids), logits_of(model, ids), rtol=0, atol=1e-5)
