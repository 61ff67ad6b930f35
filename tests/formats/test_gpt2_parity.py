"""Logits and gradients of transformers' GPT-2, and the folders that it writes and loads.

Against transformers where it is installed, against frozen vectors where it is not.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from other_programs import export_folder, import_folder
from safetensors.numpy import save_file

from minillm.formats import huggingface
from minillm.models.gpt import GPT, GPTConfig
from minillm.text import load_tokenizer
from minillm.text.byte_pairs import train

pytestmark = pytest.mark.usefixtures("both_twins")
TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
V, C, LAYERS = 262, 12, 2
FROZEN_V = 50
CONFIG = {
    "model_type": "gpt2",
    "vocab_size": V,
    "n_positions": C,
    "n_embd": 16,
    "n_layer": LAYERS,
    "n_head": 4,
}
PRECISION = [(np.float64, 1e-12), (np.float32, 3e-6)]


def converted(model, dtype):
    return GPT(model.config, params={name: p.astype(dtype) for name, p in model.params.items()})


def save_tokenizer(path):
    """A folder with the tokenizer alone."""
    export_folder(GPT(GPTConfig(V, C, 1, 1, 2), np.random.default_rng(0)), TOKENIZER, path)
    (path / "config.json").unlink()
    (path / "model.safetensors").unlink()


def assert_close(result, expected, tolerance, name="logits"):
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(result, expected, atol=atol, rtol=0, err_msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_frozen(tmp_path, monkeypatch, dtype, tolerance):
    monkeypatch.setattr(huggingface, "load_tokenizer", lambda folder: range(FROZEN_V))
    frozen = np.load(Path(__file__).with_name("frozen_gpt2.npz"))
    groups = {"weight": {}, "gradient": {}}
    for entry in frozen.files:
        if "/" in entry:
            role, name = entry.split("/")
            groups[role][name] = frozen[entry]
    path = tmp_path / "gpt2"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": FROZEN_V}))
    save_file(groups["weight"], path / "model.safetensors")
    model = converted(import_folder(path)[0], dtype)
    ids = frozen["ids"]
    logits, _ = model.forward(ids[:, :-1])
    assert_close(logits, frozen["logits"], tolerance)
    loss, backward = model.loss((ids[:, :-1], ids[:, 1:]))
    assert float(loss) == pytest.approx(float(frozen["loss"]), rel=tolerance)
    # The gradients have names and layout of the weights: they go the same way.
    save_file(groups["gradient"], path / "model.safetensors")
    expected = import_folder(path)[0].params
    scale = max(np.abs(array).max() for array in expected.values())
    gradients = backward()
    assert gradients.keys() == expected.keys()
    for name, array in expected.items():  # in float32's numbers
        np.testing.assert_allclose(gradients[name], array, atol=1e-6 * scale, rtol=0, err_msg=name)


@pytest.fixture(scope="module")
def theirs():
    """A random GPT-2 of transformers."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {name: value for name, value in CONFIG.items() if name != "model_type"}
    config = transformers.GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def logits_of(model, ids):
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
@pytest.mark.parametrize("options", [{}, {"max_shard_size": "10KB"}])
def test_their_folder_imports_and_exports(tmp_path, theirs, dtype, tolerance, options):
    from transformers import AutoTokenizer, GPT2LMHeadModel

    first, again = tmp_path / "first", tmp_path / "again"
    save_tokenizer(first)
    theirs.save_pretrained(first, **options)
    assert (first / "model.safetensors").exists() == (not options)
    model, tokenizer = import_folder(first)
    ids = np.random.default_rng(0).integers(0, V, (3, C))
    name = np.dtype(dtype).name
    own = GPT2LMHeadModel.from_pretrained(first, dtype=name)
    logits, _ = converted(model, dtype).forward(ids)
    assert_close(logits, logits_of(own, ids), tolerance)

    export_folder(model, tokenizer, again)
    loaded, notes = GPT2LMHeadModel.from_pretrained(again, dtype=name, output_loading_info=True)
    assert not any(notes.values())
    assert loaded.config.resid_pdrop == theirs.config.resid_pdrop
    np.testing.assert_array_equal(logits_of(loaded, ids), logits_of(own, ids))
    text = "she sells 日本"
    read = AutoTokenizer.from_pretrained(again)
    assert read(text)["input_ids"] == tokenizer.encode(text).tolist()
    assert read.decode(tokenizer.encode(text)) == text


def test_byte_pairs(tmp_path):
    """transformers reads what we write, and we what it writes."""
    transformers = pytest.importorskip("transformers")
    tokenizer = train(["she sells sea shells, it's 日本 on the sea shore\n" * 3], 290)
    sizes = GPTConfig(len(tokenizer), C, 1, 2, 4)
    export_folder(GPT(sizes, np.random.default_rng(0)), tokenizer, tmp_path / "ours")
    text = "She sells\n\n  sea shells<|endoftext|>\t日本é 😀 isn't"
    ids = tokenizer.encode(text)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert theirs(text)["input_ids"] == ids.tolist()
    assert theirs.decode(ids) == text
    assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.eos
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_tokenizer(tmp_path / "theirs")
    assert again.tokens == tokenizer.tokens
    assert again.encode(text).tolist() == ids.tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_their_half_precision(tmp_path, theirs, dtype):
    import copy

    import torch

    save_tokenizer(tmp_path / "half")
    half = copy.deepcopy(theirs).to(getattr(torch, dtype))
    half.save_pretrained(tmp_path / "half")
    model, _ = import_folder(tmp_path / "half")
    ids = np.random.default_rng(0).integers(0, V, (3, C))
    logits, _ = converted(model, np.float64).forward(ids)
    assert_close(logits, logits_of(half.double(), ids), 1e-12)
