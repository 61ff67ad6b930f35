"""LoRA's additions as Hugging Face's library PEFT stores them, for its GPT-2, Llama or BERT.

    adapter_config.json         the rank r, lora_alpha, and the modules that have an addition
    adapter_model.safetensors   base_model.model. + a module's name + .lora_A.weight (r, I) and
                                .lora_B.weight (O, r): the transposes of ours

Their weight gets (lora_alpha / r) B A added, ours s A B with s = alpha / r.  In GPT-2, query, key
and value are one module, as in ours.  In BERT and Llama they are three modules with separate
additions, and in Llama gate and up are two.  These are one addition to our weight, with columns of
A and rows of B for each:

    [q, k, v] = x (W + s [A_q, A_k, A_v] [[B_q, 0, 0], [0, B_k, 0], [0, 0, B_v]])

In a written file, each module has all of A and its own columns of B, without the ranks in which
these columns are zero.  Zeros pad unequal ranks to equal ones.

Source: PEFT's documentation, "PEFT checkpoint format".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries
from minillm.data.files import read_json, warn_of_unknown
from minillm.errors import InputError, Reasons, short
from minillm.formats.bert import BERTFolder
from minillm.formats.format import Format, Updates
from minillm.formats.gpt2 import GPT2Folder
from minillm.formats.huggingface import Transformers, checked, json_file, read_finite, write_folder
from minillm.formats.llama import LlamaFolder
from minillm.formats.tensors import Tensor, open_tensors
from minillm.models.bert import BERT
from minillm.models.fine_tuned import PREFIX, FineTuned, encoder_of
from minillm.models.gpt import GPT
from minillm.models.llama import Llama

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_SIDES = {"A": ".lora_A.weight", "B": ".lora_B.weight"}

# The initial values with which PEFT leaves the weights of the baseline unchanged when it loads the
# adapter.  Others (PiSSA, OLoRA, CorDA, LoftQ) subtract from these weights.
_INITIAL = ("gaussian", "eva", "orthogonal", "mica", "lora_ga", True, False, None)
_CONVERTED = "True, as PEFT saves it with path_initial_model_for_weight_conversion"

# Entries of an adapter that could mean more than W + s A B; the default comes first.
_FIXED: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "lora_bias": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": (None, []),
    "layer_replication": (None,),
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "use_bdlora": (None, False),
}
# Entries that are read below, and others that change no result: the tensors tell which modules
# have an addition.
_OTHERS = {
    "peft_type", "r", "lora_alpha", "init_lora_weights",
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
    "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules",
    "target_parameters", "task_type", "trainable_token_indices", "use_qalora", "velora_config",
}  # fmt: skip


Adapted = GPT | Llama | BERT

_FOLDERS: dict[type, Transformers] = {
    folder.models[0]: folder for folder in (GPT2Folder(), LlamaFolder(), BERTFolder())
}


def _modules(model: Adapted) -> dict[str, tuple[str, slice]]:
    """Our weight that contains each module, and its columns."""
    modules = {}
    for weight in _FOLDERS[type(model)].weights(model.config):
        if len(weight.shape) == 2 and not weight.name.endswith(".E"):
            for name, columns in weight.columns.items():
                modules[name.removesuffix(".weight")] = (weight.name, columns)
    return modules


# --- reading -----------------------------------------------------------------


def read_adapter(folder: str | Path, model: Adapted) -> tuple[dict[str, NDArray], int, float]:
    """The additions to a model's weights, named as in minillm/training/lora.py; r and alpha.

    InputError names the file, and the entry or tensor that is missing, damaged, or means more than
    W + s A B.
    """
    weights = Path(folder) / WEIGHTS
    r, alpha = _read_config(Path(folder) / CONFIG)
    tensors, _ = open_tensors(weights)
    modules, stored = _modules(model), {}
    for name, tensor in tensors.items():
        module, side = _module_of(name)
        if module not in modules:
            raise InputError(
                f"{weights}: {short(name)}: expected lora_A or lora_B of a linear layer of the "
                f"baseline, such as {_PREFIX}{next(iter(modules))}{_SIDES['A']}"
            )
        stored[module, side] = tensor
    additions: dict[str, NDArray] = {}
    for module, (ours, columns) in modules.items():
        if (module, "A") in stored or (module, "B") in stored:
            I, O = model.params[ours].shape
            A = _read(weights, module, "A", stored, (r, I)).T
            B = np.zeros((r, O), np.float32)
            B[:, columns] = _read(weights, module, "B", stored, (columns.stop - columns.start, r)).T
            for name, part, axis in ((f"{ours}.A", A, 1), (f"{ours}.B", B, 0)):
                parts = [additions[name], part] if name in additions else [part]
                additions[name] = np.concatenate(parts, axis)
    if not additions:
        raise InputError(f"{weights}: expected the tensors of additions, found none")
    return {name: np.ascontiguousarray(array) for name, array in additions.items()}, r, alpha


def _read_config(path: Path) -> tuple[int, float]:
    """r and alpha; InputError for an adapter that is not W + s A B."""
    file = Entries(path, {"r": 8, "lora_alpha": 8} | read_json(path))
    if file.values.get("peft_type") != "LORA":
        raise file.wrong("peft_type", "'LORA'")
    reasons = Reasons()
    with reasons:
        file.check_all(_FIXED)
    with reasons:
        initial = file.values.get("init_lora_weights", True)
        if (initial.lower() if isinstance(initial, str) else initial) not in _INITIAL:
            raise file.wrong("init_lora_weights", _CONVERTED)
    warn_of_unknown(path, file.values, {*_FIXED, *_OTHERS})
    with reasons:
        r = file.size("r")
    with reasons:
        alpha = file.number("lora_alpha", 8)
        if not 0 < alpha <= 1e6:
            raise file.wrong("lora_alpha", "a number above 0, at most 1,000,000")
    reasons.check()
    return r, alpha


def _module_of(name: str) -> tuple[str, str]:
    """The module, without prefixes, and the side of a tensor's name; "" for any other tensor."""
    for side, ending in _SIDES.items():
        if name.startswith(_PREFIX) and name.endswith(ending):
            module = name.removeprefix(_PREFIX).removesuffix(ending)
            for folder in _FOLDERS.values():
                module = module.removeprefix(folder.prefix)
            return module, side
    return "", ""


def _read(
    path: Path,
    module: str,
    side: str,
    stored: Mapping[tuple[str, str], Tensor],
    shape: tuple[int, int],
) -> NDArray:
    name = f"{_PREFIX}...{module}{_SIDES[side]}"
    tensor = checked(path, name, stored.get((module, side)), shape)
    array = np.empty(shape, np.float32)
    read_finite(tensor, name, array)
    return array


# --- writing -----------------------------------------------------------------


def write_adapter(
    folder: str | Path,
    model: Adapted,
    additions: Mapping[str, NDArray],
    scale: float,
    baseline: str,
    whole: bool = True,
) -> None:
    """Write a new folder that PEFT loads; whole or not at all.

    ``baseline`` is the name of the model that the additions belong to.  ``whole``: it is loaded
    with its heads; else as a GPT2Model, LlamaModel or BertModel.  InputError for an addition that
    PEFT does not support.
    """
    parts: dict[str, tuple[NDArray, NDArray]] = {}
    modules = _modules(model)
    for module, (ours, columns) in modules.items():
        if f"{ours}.A" in additions:
            A, B = additions[f"{ours}.A"], additions[f"{ours}.B"]
            part = B[:, columns]
            used = part.any(axis=1) if B.any() else np.ones(len(B), bool)
            if used.any():
                parts[module] = (A[:, used], part[used])
    supported = {ours for ours, _ in modules.values()}
    for name in additions:
        if name.rpartition(".")[0] not in supported:
            raise InputError(
                f"{name}: only a linear layer of a gpt, a llama or a bert can be exported"
            )
    rank = max(A.shape[1] for A, _ in parts.values())
    stored = _FOLDERS[type(model)].stored
    tensors = {}
    for module, (A, B) in parts.items():
        missing = ((0, rank - A.shape[1]), (0, 0))
        name = _PREFIX + (stored(module, model.config) if whole else module)
        tensors[name + _SIDES["A"]] = np.pad(A.T, missing)
        tensors[name + _SIDES["B"]] = np.pad(B, missing).T
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if whole and not isinstance(model, BERT) else None,
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
    write_folder(folder, {CONFIG: json_file(config)}, tensors, WEIGHTS)


class PEFT(Format):
    """Folders of additions, also those to the encoder of a fine-tuned model."""

    name = "peft"
    models = (GPT, Llama, BERT)
    default = "peft"
    signature = f"a folder with {CONFIG}"
    updates = True

    def holds(self, model: Any) -> bool:
        """Whether it is one of these, or a classifier with one."""
        return isinstance(model, (*self.models, FineTuned))

    def recognises(self, path: Path, head: bytes) -> bool:
        """See :meth:`minillm.formats.format.Format.recognises`."""
        return (path / CONFIG).is_file()

    def read(self, path: str, baseline: Any = None) -> Updates:
        """See :func:`read_adapter`."""
        return Updates(baseline, *read_adapter(path, baseline))

    def write(self, contents: Updates, path: str | Path, options: Any) -> None:
        """See :func:`write_adapter`."""
        model, arrays = contents.model, contents.arrays
        whole = not isinstance(model, FineTuned)
        if not whole:
            model = encoder_of(model)
            arrays = {name.removeprefix(PREFIX): array for name, array in arrays.items()}
        if not isinstance(model, Adapted):
            raise InputError(
                f"{path}: expected additions to a gpt, a llama or a bert, "
                f"found {type(model).__name__}"
            )
        scale = contents.alpha / contents.rank
        write_adapter(path, model, arrays, scale, contents.baseline, whole)
