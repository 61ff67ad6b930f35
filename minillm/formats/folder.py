"""The files of a folder in Hugging Face's format: JSON, and weights in one file or several.

model.safetensors                the weights; or
model.safetensors.index.json     lists the file of each weight
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries
from minillm.data.files import new_folder, read_json, write_file
from minillm.errors import InputError, short
from minillm.formats.tensors import Tensor, open_tensors, write_tensors
from minillm.formats.weights import Weight

WEIGHTS = "model.safetensors"
LONGEST_NAME = 255  # characters of a file's name
_FLOATS = ("F32", "F16", "BF16")


def entries_of(path: Path) -> Entries:
    """The entries of a file of JSON; none if there is no such file."""
    return Entries(path, read_json(path) if path.exists() else {})


def is_name(text: str) -> bool:
    """Whether a text can name a file or folder next to the file that contains it."""
    return Path(text).name == text and len(text) <= LONGEST_NAME and text.isprintable()


def open_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of one file, or of the files in an index."""
    single, index = folder / WEIGHTS, folder / f"{WEIGHTS}.index.json"
    if single.exists():
        return open_tensors(single)[0]
    if not index.exists():
        pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
        found = (
            f"{short(pickled[0])}, a pickle, which may run any program: save it with "
            "save_pretrained of transformers, which writes safetensors"
            if pickled
            else "neither"
        )
        raise InputError(f"{folder}: expected {WEIGHTS} or {index.name}, found {found}")
    weights = read_json(index).get("weight_map")
    files = [*weights.values()] if isinstance(weights, dict) else []
    wrong = [file for file in files if not isinstance(file, str) or not is_name(file)]
    if not isinstance(weights, dict) or wrong:
        raise InputError(
            f"{index}: expected an object 'weight_map' with names of files in the same folder, "
            f"found {short(wrong[0] if wrong else weights)}"
        )
    opened = {file: open_tensors(folder / file)[0] for file in sorted({*files})}
    for name, file in weights.items():
        if name not in opened[file]:
            raise InputError(f"{folder / file}: the tensor {short(name)} is missing")
    return {name: opened[file][name] for name, file in weights.items()}


def read_params(
    tensors: Mapping[str, Tensor], weights: Iterable[Weight]
) -> dict[str, NDArray[np.float32]]:
    """All parameters, of tensors that have their shapes."""
    params, weights = {}, list(weights)
    check_floats({name: tensors[name] for weight in weights for name in weight.columns})
    for weight in weights:
        params[weight.name] = np.empty(weight.shape, np.float32)
        for name, view in weight.views(params[weight.name]).items():
            read_finite(tensors[name], name, view)
    return params


def check_floats(tensors: Mapping[str, Tensor]) -> None:
    """InputError unless all have types that become float32."""
    others = [name for name, tensor in tensors.items() if tensor.dtype not in _FLOATS]
    if others:
        first = tensors[others[0]]
        raise InputError(
            f"{first.path}: {others[0]}: expected float32, float16 or bfloat16, found "
            f"{first.dtype} in {len(others)} of {len(tensors)} tensors"
        )


def read_finite(tensor: Tensor, name: str, array: NDArray) -> None:
    """Read a tensor of floats into an array, or a view of one.  InputError unless finite."""
    for rows, piece in tensor.pieces():
        array[rows] = piece
    if not np.isfinite(array).all():
        raise InputError(f"{tensor.path}: expected finite weights, found others in {name}")


def json_file(values: Mapping[str, Any] | list[Any]) -> bytes:
    """The content of a file of JSON."""
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def write_folder(
    folder: str | Path,
    files: Mapping[str, bytes],
    tensors: Mapping[str, NDArray],
    weights: str = WEIGHTS,
) -> None:
    """Write a new folder of files and weights, whole or not at all."""
    with new_folder(folder) as made:
        for name, content in files.items():
            (made / name).parent.mkdir(exist_ok=True)
            write_file(made / name, content)
        write_tensors(made / weights, tensors, {"format": "pt"})
