"""LoRA's additions as Hugging Face's library PEFT stores them, beside a GPT-2 or a BERT of theirs.

    adapter_config.json         the rank r, lora_alpha, and which modules have an addition
    adapter_model.safetensors   base_model.model. + a module's name + .lora_A.weight (r, I) and
                                .lora_B.weight (O, r): ours transposed

Their weight gets (lora_alpha / r) B A, ours s A B with s = alpha / r.  GPT-2's module has query,
key and value in one, as ours; of a BERT they are three modules with additions of their own.  Side
by side these are an addition to our one weight, too, with columns of A and rows of B for each:

    [q, k, v] = x (W + s [A_q, A_k, A_v] [[B_q, 0, 0], [0, B_k, 0], [0, 0, B_v]])

Written, each module gets all of A and its own columns of B, but for the ranks in which these are
zero.  Where modules have unequal ranks, zeros make them equal.

Source: PEFT's documentation, "PEFT checkpoint format".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import new_folder, read_json, write_file
from minillm.errors import InputError, short
from minillm.formats import bert, gpt2, huggingface
from minillm.formats.tensors import Tensor, open_tensors, write_tensors
from minillm.models.bert import BERT
from minillm.models.gpt import GPT

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_SIDES = {"A": ".lora_A.weight", "B": ".lora_B.weight"}

# What an adapter may have that is not merely W + s A B; the default stands first.
_FIXED: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "lora_bias": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": (None, []),
    "layer_replication": (None,),
}


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder has additions in PEFT's format."""
    return (Path(folder) / CONFIG).is_file()


def _modules(model: GPT | BERT) -> dict[str, tuple[str, slice]]:
    """Of each of their linear layers: the weight of ours that it is in, and its columns."""
    modules = {}
    if isinstance(model, GPT):
        for theirs, ours, shape in gpt2.names(model.config):
            if len(shape) == 2 and not ours.endswith(".E"):
                modules[theirs.removesuffix(".weight")] = (ours, slice(0, shape[1]))
        return modules
    for ours, theirs, shape in bert.names(model.config):
        if len(shape) == 2 and not ours.endswith(".E"):
            parts = bert.their_names(theirs)
            O = shape[1] // len(parts)
            for number, name in enumerate(parts):
                columns = slice(number * O, (number + 1) * O)
                modules[name.removesuffix(".weight")] = (ours, columns)
    return modules


# --- reading -----------------------------------------------------------------


def read_adapter(folder: str | Path, model: GPT | BERT) -> tuple[dict[str, NDArray], int, float]:
    """The additions to a model's weights, by name as in minillm/training/lora.py; r and alpha.

    InputError names the file, and the entry or the tensor, that is missing, damaged, or asks for
    more than W + s A B.
    """
    path, weights = Path(folder) / CONFIG, Path(folder) / WEIGHTS
    values = read_json(path)
    if values.get("peft_type") != "LORA":
        raise huggingface.wrong(path, values, "peft_type", "'LORA'")
    for name, allowed in _FIXED.items():
        if values.get(name, allowed[0]) not in allowed:
            raise huggingface.wrong(path, values, name, repr(allowed[0]))
    r = huggingface.size(path, {"r": 8} | values, "r")
    alpha = values.get("lora_alpha", 8)
    if type(alpha) not in (int, float) or not 0 < alpha <= 1e6:
        raise huggingface.wrong(path, values, "lora_alpha", "a number above 0, at most 1,000,000")
    tensors, _ = open_tensors(weights)
    modules, found = _modules(model), {}
    for name, tensor in tensors.items():
        module, side = _module_of(name)
        if module not in modules:
            raise InputError(
                f"{weights}: {short(name)}: expected lora_A or lora_B of a linear layer of the "
                f"baseline, such as {_PREFIX}{next(iter(modules))}{_SIDES['A']}"
            )
        found[module, side] = tensor
    by_weight: dict[str, dict[str, list[NDArray]]] = {}
    for module, (ours, columns) in modules.items():
        if (module, "A") in found or (module, "B") in found:
            I, D = model.params[ours].shape[0], columns.stop - columns.start
            A = _read(weights, module, "A", found, (r, I))
            B = np.zeros((r, model.params[ours].shape[1]), np.float32)
            B[:, columns] = _read(weights, module, "B", found, (D, r)).T
            sides = by_weight.setdefault(ours, {"A": [], "B": []})
            sides["A"].append(A.T)
            sides["B"].append(B)
    additions = {}
    for ours, sides in by_weight.items():
        additions[f"{ours}.A"] = np.ascontiguousarray(np.concatenate(sides["A"], axis=1))
        additions[f"{ours}.B"] = np.concatenate(sides["B"], axis=0)
    if not additions:
        raise InputError(f"{weights}: expected the tensors of additions, found none")
    return additions, r, float(alpha)


def _module_of(name: str) -> tuple[str, str]:
    """The module, without prefixes, and the side of a tensor's name; "" for any other tensor."""
    for side, ending in _SIDES.items():
        if name.startswith(_PREFIX) and name.endswith(ending):
            module = name.removeprefix(_PREFIX).removesuffix(ending)
            return module.removeprefix(gpt2.PREFIX).removeprefix(bert.PREFIX), side
    return "", ""


def _read(
    path: Path,
    module: str,
    side: str,
    found: Mapping[tuple[str, str], Tensor],
    shape: tuple[int, int],
) -> NDArray:
    name = f"{_PREFIX}...{module}{_SIDES[side]}"
    tensor = huggingface.checked(path, name, found.get((module, side)), shape)
    array = np.empty(shape, np.float32)
    tensor.read_into(array)
    huggingface.check_finite(tensor, name, array)
    return array


# --- writing -----------------------------------------------------------------


def write_adapter(
    folder: str | Path,
    model: GPT | BERT,
    additions: Mapping[str, NDArray],
    scale: float,
    baseline: str,
    whole: bool = True,
) -> None:
    """Writes a new folder that PEFT loads; whole or not at all.

    ``baseline`` is the name of the model that they are to be added to.  ``whole``: it is loaded
    with its heads; else as a GPT2Model or BertModel.  InputError for an addition to a weight that
    PEFT has no addition for.
    """
    parts: dict[str, tuple[NDArray, NDArray]] = {}
    modules = _modules(model)
    for module, (ours, columns) in modules.items():
        if f"{ours}.A" in additions:
            A, B = additions[f"{ours}.A"], additions[f"{ours}.B"]
            own = B[:, columns]
            used = own.any(axis=1) if B.any() else np.ones(len(B), bool)
            if used.any():
                parts[module] = (A[:, used], own[used])
    known = {ours for ours, _ in modules.values()}
    for name in additions:
        if name.rpartition(".")[0] not in known:
            raise InputError(f"{name}: only a linear layer of a gpt or a bert can be exported")
    rank = max(A.shape[1] for A, _ in parts.values())
    prefix = gpt2.PREFIX if isinstance(model, GPT) else bert.PREFIX
    if not whole or (isinstance(model, BERT) and not bert.has_heads(model.config)):
        prefix = ""
    tensors = {}
    for module, (A, B) in parts.items():
        missing = ((0, rank - A.shape[1]), (0, 0))
        plain = "" if module.startswith(bert.HEADS) else prefix
        tensors[f"{_PREFIX}{plain}{module}{_SIDES['A']}"] = np.pad(A.T, missing)
        tensors[f"{_PREFIX}{plain}{module}{_SIDES['B']}"] = np.pad(B, missing).T
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if isinstance(model, GPT) and whole else None,
        "base_model_name_or_path": baseline,
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": 0.0,
        "target_modules": sorted(parts),
        "fan_in_fan_out": isinstance(model, GPT),
        "bias": "none",
        "modules_to_save": None,
        "inference_mode": True,
    }
    with new_folder(folder) as made:
        write_file(made / CONFIG, huggingface.json_file(config))
        write_tensors(made / WEIGHTS, tensors, {"format": "pt"})
