"""GPT-2 as Hugging Face's library transformers stores it: a folder with

    config.json           the sizes, under names such as n_embd
    model.safetensors     the weights; or model.safetensors.index.json, which says in which of
                          several files each of them is
    tokenizer.json        or vocab.json and merges.txt: byte pairs

Their linear layers ("Conv1D") have weights (in, out), as ours: nothing is transposed.  The
output is tied to the embedding of the tokens there, too, and has no weight of its own.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import new_folder, read_json, write_file
from minillm.errors import InputError, short
from minillm.formats.tensors import Tensor, open_tensors, write_tensors
from minillm.models.gpt import GPT, GPTConfig
from minillm.text import BytePairs, Characters, Vocabulary, load_tokenizer, tokenizer_files

# Their names, ours, and the shape: V the vocabulary, C the context, D the width.
_OUTSIDE = (
    ("wte.weight", "embedding.E", "V D"),
    ("wpe.weight", "positions.E", "C D"),
    ("ln_f.weight", "norm.gain", "D"),
    ("ln_f.bias", "norm.bias", "D"),
)
_BLOCK = (
    ("ln_1.weight", "norm_1.gain", "D"),
    ("ln_1.bias", "norm_1.bias", "D"),
    ("attn.c_attn.weight", "attention.W_qkv", "D 3D"),
    ("attn.c_attn.bias", "attention.b_qkv", "3D"),
    ("attn.c_proj.weight", "attention.W_o", "D D"),
    ("attn.c_proj.bias", "attention.b_o", "D"),
    ("ln_2.weight", "norm_2.gain", "D"),
    ("ln_2.bias", "norm_2.bias", "D"),
    ("mlp.c_fc.weight", "feed_forward.W_1", "D 4D"),
    ("mlp.c_fc.bias", "feed_forward.b_1", "4D"),
    ("mlp.c_proj.weight", "feed_forward.W_2", "4D D"),
    ("mlp.c_proj.bias", "feed_forward.b_2", "D"),
)
_PREFIX = "transformer."  # absent where the model was saved without its output layer
_OUTPUT = "lm_head.weight"
_MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")  # buffers of older versions, not weights

# What may vary in a GPT-2 of theirs, but not in models/gpt.py; the default stands first.
_FIXED: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
_ARCHITECTURES = ("GPT2LMHeadModel", "GPT2Model")
LONGEST_NAME = 255  # characters of a file's name
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def _names(config: GPTConfig) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Of each parameter: their name, ours, and its shape."""
    D = config.width
    sizes = {"V": config.vocabulary, "C": config.context, "D": D, "3D": 3 * D, "4D": 4 * D}

    def shape(letters: str) -> tuple[int, ...]:
        return tuple(sizes[letter] for letter in letters.split())

    for theirs, ours, letters in _OUTSIDE:
        yield theirs, ours, shape(letters)
    for layer in range(config.layers):
        for theirs, ours, letters in _BLOCK:
            yield f"h.{layer}.{theirs}", f"blocks.{layer}.{ours}", shape(letters)


# --- reading -----------------------------------------------------------------


def import_gpt2(folder: str | Path) -> tuple[GPT, Vocabulary]:
    """The GPT-2 in a folder, in float32, and its tokenizer.

    Each weight goes from the file into its place, so that memory holds the model once.
    InputError names the file, and the entry or the tensor, that is missing, damaged or of
    another kind than :mod:`minillm.models.gpt`.
    """
    folder = Path(folder)
    config, tied = _read_config(folder / "config.json")
    tokenizer = _read_tokenizer(folder)
    if len(tokenizer) != config.vocabulary:
        raise InputError(
            f"{folder}: config.json says vocab_size {config.vocabulary:,}, "
            f"but the tokenizer has {len(tokenizer):,} tokens"
        )
    tensors = _open_all(folder)
    wanted = {}
    for theirs, ours, shape in _names(config):
        wanted[ours] = _checked(folder, theirs, tensors.pop(theirs, None), shape)
    output = tensors.pop(_OUTPUT, None)
    if output is None and not tied:
        raise InputError(f"{folder}: the tensor {_OUTPUT} is missing, and not tied to wte.weight")
    for name, tensor in tensors.items():
        if not _MASK.fullmatch(name):
            raise InputError(f"{tensor.path}: {short(name)}: config.json describes no such tensor")
    params = {}
    for ours, tensor in wanted.items():
        params[ours] = np.empty(tensor.shape, np.float32)
        tensor.read_into(params[ours])
        if not np.isfinite(params[ours]).all():
            raise InputError(f"{tensor.path}: expected finite weights, found others in {ours}")
    if output is not None:
        _check_tied(folder, output, params["embedding.E"])
    return GPT(config, params=params), tokenizer


def _read_config(path: Path) -> tuple[GPTConfig, bool]:
    """The sizes, and whether the output is tied without saying so in the weights."""
    values = read_json(path)
    _check_known(path, values)

    def size(name: str) -> int:
        if type(values.get(name)) is not int or values[name] < 1:
            raise _wrong(path, values, name, "a whole number from 1 up")
        return values[name]

    if values.get("n_inner") not in (None, 4 * size("n_embd")):
        raise _wrong(path, values, "n_inner", f"{4 * size('n_embd')}, four times n_embd")
    sizes = {
        "vocabulary": size("vocab_size"),
        "context": size("n_positions" if "n_positions" in values else "n_ctx"),
        "layers": size("n_layer"),
        "heads": size("n_head"),
        "width": size("n_embd"),
    }
    dropout = values.get("resid_pdrop", 0.1)
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise _wrong(path, values, "resid_pdrop", "a number from 0 to below 1")
    try:
        config = GPTConfig(**sizes, dropout=float(dropout))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return config, values.get("tie_word_embeddings", True) is not False


def _check_known(path: Path, values: dict[str, Any]) -> None:
    """InputError for a model that models/gpt.py is unable to be."""
    if values.get("model_type") != "gpt2":
        raise _wrong(path, values, "model_type", "'gpt2'")
    architectures = values.get("architectures") or list(_ARCHITECTURES)
    if not isinstance(architectures, list) or not any(a in _ARCHITECTURES for a in architectures):
        raise _wrong(path, values, "architectures", " or ".join(_ARCHITECTURES))
    for name, allowed in _FIXED.items():
        if values.get(name, allowed[0]) not in allowed:
            raise _wrong(path, values, name, " or ".join(map(repr, allowed)))


def _wrong(path: Path, values: dict[str, Any], name: str, expected: str) -> InputError:
    return InputError(f"{path}: {name}: expected {expected}, found {repr(values.get(name))[:200]}")


def _open_all(folder: Path) -> dict[str, Tensor]:
    """The tensors of one file, or of those that an index lists, without the prefix."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        found = open_tensors(single)[0]
    elif index.exists():
        found = _open_listed(index)
    else:
        raise InputError(f"{folder}: expected model.safetensors or {index.name}, found neither")
    tensors = {}
    for name, tensor in found.items():
        plain = name.removeprefix(_PREFIX)
        if plain in tensors:
            raise InputError(f"{tensor.path}: it has {short(plain)} with and without {_PREFIX}")
        tensors[plain] = tensor
    return tensors


def _open_listed(index: Path) -> dict[str, Tensor]:
    """The tensors that an index lists, each from its file."""
    weights = read_json(index).get("weight_map")
    if not isinstance(weights, dict) or not all(isinstance(v, str) for v in weights.values()):
        raise InputError(f"{index}: expected an object 'weight_map' with names of files")
    files = {}
    for file in sorted(set(weights.values())):
        if Path(file).name != file or len(file) > LONGEST_NAME or not file.isprintable():
            raise InputError(f"{index}: expected a file in the same folder, found {short(file)}")
        files[file] = open_tensors(index.parent / file)[0]
    found = {}
    for name, file in weights.items():
        if name not in files[file]:
            raise InputError(f"{index.parent / file}: the tensor {short(name)} is missing")
        found[name] = files[file][name]
    return found


def _checked(folder: Path, name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """A tensor with the shape that the config says, and of real numbers."""
    if tensor is None:
        raise InputError(f"{folder}: the tensor {name} is missing from the weights")
    if tensor.shape != shape:
        raise InputError(f"{tensor.path}: {name}: expected shape {shape}, found {tensor.shape}")
    if tensor.dtype not in _FLOATS:
        expected = " or ".join(_FLOATS.values())
        raise InputError(f"{tensor.path}: {name}: expected {expected}, found {tensor.dtype}")
    return tensor


def _check_tied(folder: Path, output: Tensor, E: NDArray) -> None:
    """InputError if the output has weights of its own."""
    _checked(folder, _OUTPUT, output, E.shape)
    flat = E.reshape(-1)
    for place, piece in output.pieces():
        if not np.array_equal(flat[place], piece.astype(E.dtype)):
            raise InputError(
                f"{output.path}: {_OUTPUT}: expected the weights of wte.weight, found others: "
                "an output that is not tied to the embedding cannot be run"
            )


def _read_tokenizer(folder: Path) -> Vocabulary:
    """Byte pairs; or characters, as :func:`export_gpt2` writes them."""
    path = folder / "tokenizer.json"
    if path.exists():
        values = read_json(path)
        model = values.get("model")
        if isinstance(model, dict) and model.get("type") == "WordLevel":
            return _read_characters(path, values)
    return load_tokenizer(folder)


def _read_characters(path: Path, values: dict[str, Any]) -> Characters:
    vocabulary = values["model"].get("vocab")
    if isinstance(vocabulary, dict):
        try:
            tokenizer = Characters(list(vocabulary))
        except ValueError:
            pass
        else:
            if values == _characters(tokenizer):
                return tokenizer
    raise InputError(f"{path}: expected a tokenizer of byte pairs or of characters, found words")


# --- writing -----------------------------------------------------------------


def export_gpt2(model: GPT, tokenizer: Vocabulary, folder: str | Path) -> None:
    """Writes a new folder that transformers loads, with the same logits; whole or not at all.

    The tokenizer must be one of byte pairs or of characters: InputError for any other.
    """
    files = _tokenizer_files(tokenizer, model.config.context)
    files["config.json"] = _json(_config_values(model.config, tokenizer))
    tensors = {_PREFIX + theirs: model.params[ours] for theirs, ours, _ in _names(model.config)}
    with new_folder(folder) as made:
        for name, content in files.items():
            write_file(made / name, content)
        write_tensors(made / "model.safetensors", tensors, {"format": "pt"})


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _config_values(config: GPTConfig, tokenizer: Vocabulary) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "architectures": list(_ARCHITECTURES[:1]),
        "vocab_size": config.vocabulary,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": None,
        **{name: allowed[0] for name, allowed in _FIXED.items()},
        "tie_word_embeddings": True,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
    }


def _tokenizer_files(tokenizer: Vocabulary, context: int) -> dict[str, bytes]:
    """The files that describe a tokenizer, by name."""
    settings: dict[str, Any] = {"model_max_length": context, "clean_up_tokenization_spaces": False}
    if isinstance(tokenizer, BytePairs):
        files = tokenizer_files(tokenizer)
        settings |= {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}
        if tokenizer.eos is not None:
            names = ("bos_token", "eos_token", "unk_token")
            settings |= dict.fromkeys(names, tokenizer.tokens[tokenizer.eos].decode())
    elif isinstance(tokenizer, Characters):
        files = {"tokenizer.json": _json(_characters(tokenizer))}
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    else:
        raise InputError(
            f"transformers has no tokenizer that splits a text into {tokenizer.unit}s as we do"
        )
    return {**files, "tokenizer_config.json": _json(settings)}


def _characters(tokenizer: Characters) -> dict[str, Any]:
    """Each character as a word, and nothing between two when they are joined again."""
    surrogates = [token for token in tokenizer.tokens if "\ud800" <= token <= "\udfff"]
    if surrogates:
        raise InputError(f"the character U+{ord(surrogates[0]):04X} cannot be written as UTF-8")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {token: id for id, token in enumerate(tokenizer.tokens)},
            "unk_token": "<unk>",  # it has no id: text with other characters is an error
        },
    }
