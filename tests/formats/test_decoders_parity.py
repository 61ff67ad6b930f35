"""Decoders after Llama beside transformers and llama.cpp: logits, greedy tokens, folders, GGUF."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from other_programs import import_gguf
from safetensors.numpy import save_file

from minillm.decoding import Reader
from minillm.formats import gguf, huggingface
from minillm.formats.peft import read_adapter
from minillm.models.decoders import FAMILIES, Decoder
from minillm.text import tokenizer_files
from minillm.text.byte_pairs import train
from minillm.training.lora import LoRA

TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
both_twins = pytest.mark.usefixtures("both_twins")
FROZEN = np.load(Path(__file__).with_name("frozen_families.npz"))


def add_tokenizer(folder, tokenizer):
    for name, content in tokenizer_files(tokenizer).items():
        (folder / name).write_bytes(content)


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, atol=tolerance * np.ptp(expected), rtol=0)


def greedy(model, ids, count):
    """The most probable tokens after ids (T,), read one by one with a cache."""
    reader, written = Reader(model), []
    logits, state = reader.read(ids[None], reader.zero_state(1))
    for _ in range(count):
        written.append(int(logits[0].argmax()))
        logits, state = reader.read(np.array([written[-1:]]), state)
    return written


@both_twins
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_logits(tmp_path, family):
    """Of config.json as transformers 5 writes it, and float16 weights."""
    arrays = {n.removeprefix(f"{family}/"): FROZEN[n] for n in FROZEN.files if f"{family}/" in n}
    (tmp_path / "config.json").write_text(str(arrays["config"]))
    weights = {n.removeprefix("weight/"): a for n, a in arrays.items() if n.startswith("weight/")}
    save_file(weights, tmp_path / "model.safetensors")
    add_tokenizer(tmp_path, train([""], 257))
    model = huggingface.read(tmp_path).model
    assert model.config.family == family
    logits, _ = model.forward(arrays["ids"][None].astype(int))
    close(logits[0, -2:], arrays["logits"])


def reference():
    """The module with the models of transformers."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import decoders_reference

    return decoders_reference


def saved(family, folder, **entries):
    """A random model of theirs, saved in a folder with a tokenizer."""
    theirs = reference().random_decoder(family, len(TOKENIZER), **entries)
    theirs.save_pretrained(folder)
    add_tokenizer(folder, TOKENIZER)
    return theirs


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
OF_LAYERS = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
CASES = [
    *((family, {}) for family in FAMILIES),
    ("mistral", {"sliding_window": None, "head_dim": 10}),
    ("qwen2", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
    ("qwen3", {"tie_word_embeddings": True, "rms_norm_eps": 1e-3}),
    ("smollm3", {"no_rope_layer_interval": 4, "tie_word_embeddings": False}),
    ("gemma3", {"sliding_window_pattern": 6, "num_key_value_heads": 1}),
    ("phi3", {"sliding_window": None, "tie_word_embeddings": True}),
    ("qwen2", {"rope_parameters": YARN | {"rope_theta": 1e5}}),
    ("qwen3", {"rope_parameters": YARN | {"rope_theta": 1e5}}),
    ("gemma3", {"rope_parameters": OF_LAYERS}),
]


@both_twins
@pytest.mark.parametrize(("family", "entries"), CASES)
def test_folders_beside_transformers(tmp_path, family, entries):
    """The logits and greedy tokens of a folder of theirs; and theirs of ours."""
    torch = pytest.importorskip("torch")

    theirs = saved(family, tmp_path / "theirs", **entries)
    ids = torch.randint(len(TOKENIZER), (2, 30))
    with torch.no_grad():
        expected = theirs(ids).logits.numpy()
        tokens = theirs.generate(ids[:1], do_sample=False, max_new_tokens=20, use_cache=True)
    contents = huggingface.read(tmp_path / "theirs")
    assert contents.model.config.family == family
    close(contents.model.forward(ids.numpy())[0], expected)
    assert greedy(contents.model, ids[0].numpy(), 20) == tokens[0, 30:].tolist()

    huggingface.write(contents, tmp_path / "ours")
    loaded, notes = type(theirs).from_pretrained(
        tmp_path / "ours", dtype="float32", output_loading_info=True
    )
    assert not any(notes.values())
    with torch.no_grad():
        close(loaded(ids).logits.numpy(), expected)
    again = huggingface.read(tmp_path / "ours").model
    assert again.config == contents.model.config
    for name, array in contents.model.params.items():
        np.testing.assert_array_equal(again.params[name], array, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_in_bfloat16(tmp_path, family):
    torch = pytest.importorskip("torch")

    theirs = reference().random_decoder(family, len(TOKENIZER)).bfloat16()
    theirs.save_pretrained(tmp_path)
    add_tokenizer(tmp_path, TOKENIZER)
    theirs = type(theirs).from_pretrained(tmp_path, dtype="float32")  # angles, too
    ids = torch.randint(len(TOKENIZER), (1, 30))
    model = huggingface.read(tmp_path).model
    with torch.no_grad():
        close(model.forward(ids.numpy())[0], theirs(ids).logits.numpy())


def logits_of_llama_cpp(path, ids, **options):
    """The logits after each of ids (T,), with a cache in float32."""
    llama_cpp = pytest.importorskip("llama_cpp")
    options |= {"type_k": 0, "type_v": 0, "flash_attn": False, "n_threads": 1, "verbose": False}
    model = llama_cpp.Llama(str(path), n_ctx=256, n_batch=64, logits_all=True, **options)
    model.eval(ids.tolist())
    return np.array(model.scores[: len(ids)])


def without_window(model):
    return Decoder(replace(model.config, window=None), params=model.params)


NOT_IN_LLAMA_CPP = [("smollm3", {})]  # it has every fourth layer only


@pytest.mark.parametrize(("family", "entries"), [c for c in CASES if c not in NOT_IN_LLAMA_CPP])
def test_gguf_files_beside_llama_cpp(tmp_path, family, entries):
    """It has a GELU of float16, and no windows in a Mistral and a Phi."""
    pytest.importorskip("llama_cpp")
    torch = pytest.importorskip("torch")

    saved(family, tmp_path / "theirs", **entries)
    contents = huggingface.read(tmp_path / "theirs")
    model, path = contents.model, tmp_path / "model.gguf"
    gguf.write(contents, path)
    if family in ("mistral", "phi3"):
        model = without_window(model)
    ids = torch.randint(len(TOKENIZER), (40,)).numpy()
    expected, found = model.forward(ids[None])[0][0], logits_of_llama_cpp(path, ids)
    close(found, expected, 1e-3 if family == "gemma3" else 1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    again = import_gguf(path)[0]
    for name, array in model.params.items():
        np.testing.assert_array_equal(again.params[name], array, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_adapters_beside_peft(tmp_path, family):
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    theirs = saved(family, tmp_path / "base")
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules="all-linear")
    adapted = peft.get_peft_model(theirs, config).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    adapted.save_pretrained(tmp_path / "adapter")
    ids = torch.randint(len(TOKENIZER), (1, 30))
    with torch.no_grad():
        expected = adapted(ids).logits.numpy()
    model = huggingface.read(tmp_path / "base").model
    additions, r, alpha = read_adapter(tmp_path / "adapter", model)
    LoRA(model, additions, alpha / r)
    close(model.forward(ids.numpy())[0], expected)
