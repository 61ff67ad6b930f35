"""The folders in which Hugging Face's library transformers stores a model:

    config.json           the kind of model ("model_type"), and its sizes
    model.safetensors     the weights; or model.safetensors.index.json, which says in which of
                          several files each of them is
    tokenizer.json        or other files of a tokenizer: see minillm/text/tokenizer_files.py

Here is what all models share; :mod:`minillm.formats.gpt2` and :mod:`minillm.formats.bert` tell
whose sizes and weights have which names.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import read_json
from minillm.errors import InputError, short
from minillm.formats.tensors import Tensor, open_tensors

LONGEST_NAME = 255  # characters of a file's name
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


# --- config.json -----------------------------------------------------------------


def wrong(path: Path, values: Mapping[str, Any], name: str, expected: str) -> InputError:
    """The error for an entry of a file that is not what was expected."""
    return InputError(f"{path}: {name}: expected {expected}, found {repr(values.get(name))[:200]}")


def size(path: Path, values: Mapping[str, Any], name: str) -> int:
    """A size.  InputError unless it is a whole number from 1 up."""
    if type(values.get(name)) is not int or values[name] < 1:
        raise wrong(path, values, name, "a whole number from 1 up")
    return values[name]


def dropout(path: Path, values: Mapping[str, Any], name: str) -> float:
    """A rate of dropout; 0.1, if it is not there."""
    rate = values.get(name, 0.1)
    if type(rate) not in (int, float) or not 0 <= rate < 1:
        raise wrong(path, values, name, "a number from 0 to below 1")
    return float(rate)


def check_known(
    path: Path,
    values: Mapping[str, Any],
    model_type: str,
    architectures: Iterable[str],
    fixed: Mapping[str, tuple[Any, ...]],
) -> None:
    """InputError for a model that ours is unable to be.

    One of the architectures has to be named, or none at all.  ``fixed``: what an entry may be,
    its default first.
    """
    if values.get("model_type") != model_type:
        raise wrong(path, values, "model_type", repr(model_type))
    known = list(architectures)
    found = values.get("architectures") or known
    if not isinstance(found, list) or not any(name in known for name in found):
        raise wrong(path, values, "architectures", " or ".join(known))
    for name, allowed in fixed.items():
        if values.get(name, allowed[0]) not in allowed:
            raise wrong(path, values, name, " or ".join(map(repr, allowed)))


def check_vocabulary(folder: Path, vocabulary: int, tokens: int) -> None:
    """InputError unless the model and the tokenizer know equally many tokens."""
    if tokens != vocabulary:
        raise InputError(
            f"{folder}: config.json says vocab_size {vocabulary:,}, "
            f"but the tokenizer has {tokens:,} tokens"
        )


def json_file(values: Mapping[str, Any] | list[Any]) -> bytes:
    """The content of a file of JSON."""
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def is_name(text: str) -> bool:
    """Whether it may be the name of a file or folder, in the folder where it is told."""
    return Path(text).name == text and len(text) <= LONGEST_NAME and text.isprintable()


# --- weights ---------------------------------------------------------------------


def open_weights(folder: Path, plain: Callable[[str], str]) -> dict[str, Tensor]:
    """The tensors of one file, or of those that an index lists.

    ``plain`` makes one name of the several that a tensor may have.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        found = open_tensors(single)[0]
    elif index.exists():
        found = _open_listed(index)
    else:
        raise InputError(f"{folder}: expected model.safetensors or {index.name}, found neither")
    tensors = {}
    for name, tensor in found.items():
        if plain(name) in tensors:
            raise InputError(f"{tensor.path}: it has {short(plain(name))} under two names")
        tensors[plain(name)] = tensor
    return tensors


def _open_listed(index: Path) -> dict[str, Tensor]:
    """The tensors that an index lists, each from its file."""
    weights = read_json(index).get("weight_map")
    if not isinstance(weights, dict) or not all(isinstance(v, str) for v in weights.values()):
        raise InputError(f"{index}: expected an object 'weight_map' with names of files")
    files = {}
    for file in sorted(set(weights.values())):
        if not is_name(file):
            raise InputError(f"{index}: expected a file in the same folder, found {short(file)}")
        files[file] = open_tensors(index.parent / file)[0]
    found = {}
    for name, file in weights.items():
        if name not in files[file]:
            raise InputError(f"{index.parent / file}: the tensor {short(name)} is missing")
        found[name] = files[file][name]
    return found


def checked(folder: Path, name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """A tensor with the shape that the config says, and of real numbers."""
    if tensor is None:
        raise InputError(f"{folder}: the tensor {name} is missing from the weights")
    if tensor.shape != shape:
        raise InputError(f"{tensor.path}: {name}: expected shape {shape}, found {tensor.shape}")
    if tensor.dtype not in _FLOATS:
        expected = " or ".join(_FLOATS.values())
        raise InputError(f"{tensor.path}: {name}: expected {expected}, found {tensor.dtype}")
    return tensor


def check_described(tensors: Mapping[str, Tensor]) -> None:
    """InputError for a tensor that is left, for nothing asks for it."""
    for name, tensor in tensors.items():
        raise InputError(f"{tensor.path}: {short(name)}: config.json describes no such tensor")


def check_finite(tensor: Tensor, name: str, array: NDArray) -> None:
    """InputError for weights that are not numbers, or infinite."""
    if not np.isfinite(array).all():
        raise InputError(f"{tensor.path}: expected finite weights, found others in {name}")


def check_tied(tensor: Tensor, name: str, array: NDArray, whose: str) -> None:
    """InputError for a tensor that has numbers of its own, though it is ``array`` here."""
    flat = array.reshape(-1)
    for place, piece in tensor.pieces():
        if not np.array_equal(flat[place], piece.astype(array.dtype)):
            raise InputError(
                f"{tensor.path}: {name}: expected the weights of {whose}, found others: "
                "an output that is not tied to the embedding cannot be run"
            )
