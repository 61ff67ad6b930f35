"""LoRA's additions as Hugging Face's library PEFT stores them, for a GPT-2, Llama or BERT.

    adapter_config.json         the rank r, lora_alpha, and the modules that have an addition
    adapter_model.safetensors   base_model.model. + a module's name + .lora_A.weight (r, I) and
                                .lora_B.weight (O, r): the transposes of ours

Their weight gets (lora_alpha / r) B A added, with rsLoRA (lora_alpha / sqrt(r)) B A, ours s A B
with s = alpha / r.  In GPT-2, query, key and value are one module, as in ours.  In BERT and Llama
they are three modules with separate additions, and in Llama gate and up are two.  These are one
addition to our weight, with columns of A and rows of B for each:

    [q, k, v] = x (W + s [A_q, A_k, A_v] [[B_q, 0, 0], [0, B_k, 0], [0, 0, B_v]])

In a written file, each module has all of A and its own columns of B, without the ranks in which
these columns are zero.  Zeros pad unequal ranks to equal ones.

Sources: PEFT's documentation, "PEFT checkpoint format"; Kalajdzievski (2023), "A rank stabilization
scaling factor for fine-tuning with LoRA", for the square root.
"""

import re
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries
from minillm.data.files import read_json
from minillm.errors import InputError, short
from minillm.formats.folder import json_file, read_finite, write_folder
from minillm.formats.format import Format, LoraWeights
from minillm.formats.huggingface import layout_of
from minillm.formats.layout import Layout, plain, stored, weights
from minillm.formats.tensors import Tensor, open_tensors
from minillm.formats.weights import tensor_of
from minillm.models.bert import BERT
from minillm.models.decoders import Decoder
from minillm.models.encoders import Encoder
from minillm.models.fine_tuned import PREFIX, FineTuned, encoder_of
from minillm.models.gpt import GPT
from minillm.models.llama import Llama

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_ADDITION = re.compile(rf"{re.escape(_PREFIX)}(.*)\.lora_([AB])\.weight")
_FROZEN = ".base_layer.weight"  # PEFT also stores W of an output or an embedding with an addition

# Entries that mean more than one W + s A B for all modules, although no tensor shows it.
_REFUSED = (
    "use_dora", "use_bdlora", "alora_invocation_tokens", "trainable_token_indices",
    "layer_replication", "arrow_config", "alpha_pattern", "rank_pattern",
)  # fmt: skip
# Initial values that leave the weights of the baseline unchanged.  Others subtract from them.
_INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")

ADAPTED = (GPT, Llama, Decoder, BERT, Encoder)


def _modules(model: Any) -> tuple[Layout, dict[str, tuple[str, slice]]]:
    """The layout of a model, and its linear layers: their name, our weight and its columns."""
    layout = layout_of(model)
    if layout is None or not isinstance(model, ADAPTED):
        raise InputError(
            "expected additions to a gpt, a llama, a decoder, a bert or an encoder, "
            f"found {type(model).__name__}"
        )
    return layout, {
        name.removesuffix(".weight"): (weight.name, columns)
        for weight in weights(layout, model.config)
        if len(weight.shape) == 2 and not weight.name.endswith(".E")
        for name, columns in weight.columns.items()
    }


# --- reading -----------------------------------------------------------------


def read_adapter(folder: str | Path, model: Any) -> tuple[dict[str, NDArray], int, float]:
    """The additions to a model's weights, named as in minillm/training/lora.py; r and alpha.

    InputError names the file, and the entries or tensors that are missing, damaged, or mean more
    than W + s A B.
    """
    path, (layout, modules) = Path(folder) / WEIGHTS, _modules(model)
    rank, alpha = _read_config(Path(folder) / CONFIG)
    tensors = dict[str, Tensor]()
    for name, tensor in open_tensors(path)[0].items():
        if name.endswith(_FROZEN):
            continue
        found = _ADDITION.fullmatch(name)
        module = plain(layout, found[1]) if found else ""
        if not found or module not in modules:
            raise InputError(
                f"{path}: {short(name)}: expected only lora_A and lora_B of linear layers of the "
                f"baseline, such as {_PREFIX}{next(iter(modules))}.lora_A.weight, found it"
            )
        tensors[f"{module}.lora_{found[2]}"] = tensor
    arrays: dict[str, NDArray] = {}
    for module, (ours, columns) in modules.items():
        A_name, B_name = f"{module}.lora_A", f"{module}.lora_B"
        if tensors.keys().isdisjoint((A_name, B_name)):
            continue
        I, O = model.params[ours].shape
        A, B = np.empty((rank, I), np.float32), np.zeros((rank, O), np.float32)
        for name, array in ((A_name, A), (B_name, B[:, columns].T)):
            read_finite(tensor_of(path, tensors, name, array.shape), name, array)
        for name, part, axis in ((f"{ours}.A", A.T, 1), (f"{ours}.B", B, 0)):
            parts = [arrays[name], part] if name in arrays else [part]
            arrays[name] = np.ascontiguousarray(np.concatenate(parts, axis))
    if not arrays:
        raise InputError(f"{path}: expected the tensors of additions, found none")
    return arrays, rank, alpha


def _read_config(path: Path) -> tuple[int, float]:
    """r and alpha, whose quotient is s; InputError for an adapter that is not W + s A B."""
    file = Entries(path, {"r": 8, "lora_alpha": 8, "use_rslora": False} | read_json(path))
    refused: dict[str, tuple[Any, ...]] = dict.fromkeys(_REFUSED, (None, False, {}))
    file.check_all({"peft_type": ("LORA",), "init_lora_weights": _INITIAL, **refused})
    rank, alpha = file.size("r"), file.number("lora_alpha")
    if not 0 < alpha <= 1e6:
        raise file.wrong("lora_alpha", "a number above 0, at most 1,000,000")
    return rank, alpha * sqrt(rank) if file.flag("use_rslora", False) else alpha


# --- writing -----------------------------------------------------------------


def write_adapter(
    folder: str | Path,
    model: Any,
    additions: Mapping[str, NDArray],
    scale: float,
    baseline: str,
    whole: bool = True,
) -> None:
    """Write a new folder that PEFT loads; whole or not at all.

    ``additions`` are A and B.  ``baseline`` is the name of the model that they belong to.
    ``whole``: it is loaded with its heads; else as a GPT2Model, LlamaModel or BertModel.
    InputError for an addition that PEFT does not support.
    """
    layout, modules = _modules(model)
    supported = {f"{ours}.{side}" for ours, _ in modules.values() for side in "AB"}
    for name in sorted(additions.keys() - supported):
        raise InputError(f"{name}: expected an addition to a linear layer, found another one")
    parts: dict[str, tuple[NDArray, NDArray]] = {}
    for module, (ours, columns) in modules.items():
        if f"{ours}.A" in additions:
            A, B = additions[f"{ours}.A"], additions[f"{ours}.B"]
            part = B[:, columns]
            used = part.any(axis=1) if B.any() else np.ones(len(B), bool)
            if used.any():
                parts[module] = (A[:, used], part[used])
    if not parts:
        raise InputError(f"{folder}: expected an addition A B, found none")
    rank, tensors = max(A.shape[1] for A, _ in parts.values()), dict[str, NDArray]()
    for module, (A, B) in parts.items():
        missing = ((0, rank - A.shape[1]), (0, 0))
        name = _PREFIX + (stored(layout, module, model.config) if whole else module)
        tensors[f"{name}.lora_A.weight"] = np.pad(A.T, missing)
        tensors[f"{name}.lora_B.weight"] = np.pad(B, missing).T
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if whole and layout.causal else None,
        "base_model_name_or_path": baseline,
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": 0.0,
        "target_modules": sorted(parts),
        "fan_in_fan_out": isinstance(model, GPT),
        "bias": "none",
        "inference_mode": True,
    }
    write_folder(folder, {CONFIG: json_file(config)}, tensors, WEIGHTS)


def read(path: str | Path, model: Any) -> LoraWeights:
    """The updates to a model: see :func:`read_adapter`."""
    return LoraWeights(model, *read_adapter(path, model))


def write(updates: LoraWeights, path: str | Path) -> None:
    """See :func:`write_adapter`; of a fine-tuned model, those to its encoder are written."""
    model, arrays = updates.model, updates.arrays
    whole = not isinstance(model, FineTuned)
    if not whole:
        model = encoder_of(model)
        arrays = {n.removeprefix(PREFIX): a for n, a in arrays.items() if n.startswith(PREFIX)}
    scale = updates.alpha / updates.rank
    write_adapter(path, model, arrays, scale, updates.baseline, whole)


FORMATS = (
    Format(
        name="peft",
        models=ADAPTED,
        read=read,
        write=write,
        recognises=lambda path, head: (path / CONFIG).is_file(),
        default="peft",
        signature=f"a folder with {CONFIG}",
        fits=lambda model: isinstance(model, (*ADAPTED, FineTuned)),
        updates=True,
    ),
)
