"""LoRA's additions as Hugging Face's library PEFT stores them, for a GPT-2, Llama, variant or BERT.

    adapter_config.json         the rank r, lora_alpha, and the modules that have an addition
    adapter_model.safetensors   base_model.model. + a module's name + .lora_A.weight (r, I) and
                                .lora_B.weight (O, r): the transposes of ours; of a table
                                .lora_embedding_A (r, V) and .lora_embedding_B (D, r)
                                and whole tensors, which replace others of the model

Their weight gets (lora_alpha / r) B A added, with rsLoRA (lora_alpha / sqrt(r)) B A, ours s A B
with s = alpha / r.  In GPT-2, query, key and value are one module, as in ours.  In BERT and Llama
they are three modules with separate additions, and in Llama gate and up are two.  These are one
addition to our weight, with columns of A and rows of B for each:

    [q, k, v] = x (W + s [A_q, A_k, A_v] [[B_q, 0, 0], [0, B_k, 0], [0, 0, B_v]])

A pattern may give a module its own rank and alpha.  Our runs have one s, so the quotient of the two
scales is a factor of the module's B; ranks may differ.

In a written file, each module has all of A and its own columns of B, without the ranks in which
these columns are zero.  Zeros pad unequal ranks to equal ones.

Sources: PEFT's documentation, "PEFT checkpoint format"; Kalajdzievski (2023), "A rank stabilization
scaling factor for fine-tuning with LoRA", for the square root.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries
from minillm.data.files import read_json, warn_of_unknown
from minillm.errors import InputError, Reasons, short
from minillm.formats.format import Format, Updates, formats
from minillm.formats.huggingface import Transformers, checked, json_file, read_finite, write_folder
from minillm.formats.tensors import Tensor, open_tensors
from minillm.formats.weights import Weight
from minillm.models.bert import BERT
from minillm.models.encoders import Encoder
from minillm.models.fine_tuned import PREFIX, FineTuned, encoder_of
from minillm.models.gpt import GPT
from minillm.models.llama import Llama
from minillm.models.variants import Variant
from minillm.quantised.matrix import dense

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_SIDES = {"A": ".lora_A.weight", "B": ".lora_B.weight"}
_OF_TABLES = {"A": ".lora_embedding_A", "B": ".lora_embedding_B"}
_INNER = ".base_layer."  # in the names of a module's own tensors, if it has an addition
_SAVED = ".modules_to_save."  # in some names of tensors that replace others
_UNUSED = ".original_module."  # in the names of those that are replaced, which may be stored, too

# The initial values with which PEFT leaves the weights of the baseline unchanged when it loads the
# adapter.  Others (PiSSA, OLoRA, CorDA, LoftQ) subtract from these weights.
_INITIAL = ("gaussian", "eva", "orthogonal", "mica", "lora_ga", True, False, None)
_CONVERTED = "True, as PEFT saves it with path_initial_model_for_weight_conversion"

# Entries of an adapter that could mean more than W + s A B; the default comes first.
_FIXED: dict[str, tuple[Any, ...]] = {
    "bias": ("none", "all", "lora_only"),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "layer_replication": (None,),
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "use_bdlora": (None, False),
}
# Entries that are read below, and others that change no result: the tensors tell which modules
# have an addition, or other weights.
_OTHERS = {
    "peft_type", "r", "lora_alpha", "init_lora_weights", "use_rslora", "rank_pattern",
    "alpha_pattern", "modules_to_save",
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
    "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules",
    "target_parameters", "task_type", "trainable_token_indices", "use_qalora", "velora_config",
}  # fmt: skip


Adapted = GPT | Llama | Variant | BERT | Encoder


def _folder_of(model: Adapted) -> Transformers:
    """The format of transformers' folders of the model, which has the names of its tensors."""
    return next(one for one in formats() if isinstance(one, Transformers) and one.holds(model))


def _modules(model: Adapted) -> dict[str, tuple[str, slice]]:
    """Our weight that contains each module, and its columns.

    A table that is the output, too, is not one of them: PEFT would change only one of the two.
    """
    folder, modules = _folder_of(model), {}
    tied = {ours for _, ours in folder.tied(model.config).values()}
    for weight in folder.weights(model.config):
        if len(weight.shape) == 2 and weight.name not in tied:
            for name, columns in weight.columns.items():
                modules[name.removesuffix(".weight")] = (weight.name, columns)
    return modules


def _example(modules: Mapping[str, tuple[str, slice]]) -> str:
    return next(module for module, (ours, _) in modules.items() if _sides(ours) is _SIDES)


def _sides(weight: str) -> dict[str, str]:
    """The ends of the names of A and B of a weight of ours."""
    return _OF_TABLES if weight.endswith(".E") else _SIDES


# --- reading -----------------------------------------------------------------


@dataclass(frozen=True)
class _Scales:
    """The settings of the additions."""

    rank: int
    alpha: float
    root: bool  # of the rank, in place of the rank
    alphas: Mapping[str, float]  # of modules, by a pattern
    ranks: bool  # whether modules have their own

    def of(self, rank: int, module: str = "") -> float:
        """The factor of B A in a module."""
        found = (a for key, a in self.alphas.items() if re.match(rf"(.*\.)?({key})$", module))
        return next(found, self.alpha) / (sqrt(rank) if self.root else rank)


def read_adapter(folder: str | Path, model: Adapted) -> tuple[dict[str, NDArray], int, float]:
    """The additions to a model's weights, named as in minillm/training/lora.py; r and alpha.

    Among them are the weights that replace others.  InputError names the file, and the entries or
    tensors that are missing, damaged, or mean more than W + s A B.
    """
    weights = Path(folder) / WEIGHTS
    scales = _read_config(Path(folder) / CONFIG)
    tensors, _ = open_tensors(weights)
    modules, reasons = _modules(model), Reasons()
    stored: dict[tuple[str, str], tuple[str, Tensor]] = {}  # by module and side
    whole: dict[str, Tensor] = {}
    names = {name for weight in _weights(model) for name in weight.columns}
    names |= _folder_of(model).tied(model.config).keys()
    for name, tensor in tensors.items():
        module, side, full = _module_of(name, model)
        with reasons:
            if module in modules and side:
                stored[module, side] = full, tensor
            elif module in names:
                whole[module] = tensor
            elif _UNUSED not in name:
                raise InputError(
                    f"{weights}: {short(name)}: expected lora_A or lora_B of a linear layer of the "
                    f"baseline, such as {_PREFIX}{_example(modules)}{_SIDES['A']}, or one of its "
                    "tensors"
                )
    reasons.check()
    additions: dict[str, NDArray] = {}
    for module, (ours, columns) in modules.items():
        if (module, "A") in stored or (module, "B") in stored:
            with reasons:
                A, B = _read_pair(weights, module, stored, scales, model, (ours, columns))
                for name, part, axis in ((f"{ours}.A", A, 1), (f"{ours}.B", B, 0)):
                    parts = [additions[name], part] if name in additions else [part]
                    additions[name] = np.concatenate(parts, axis)
    with reasons:
        replaced = _read_replaced(weights, whole, model)
    reasons.check()
    if not additions:
        raise InputError(f"{weights}: expected the tensors of additions, found none")
    scale = scales.of(scales.rank)
    for name in [name for name in replaced if f"{name}.A" in additions]:
        A, B = additions.pop(f"{name}.A"), additions.pop(f"{name}.B")
        replaced[name] += np.float32(scale) * (A @ B)  # they are added to other weights
    arrays = {name: np.ascontiguousarray(array) for name, array in (additions | replaced).items()}
    return arrays, scales.rank, scale * scales.rank


def _read_config(path: Path) -> _Scales:
    """The settings; InputError for an adapter that is not W + s A B."""
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
        alpha = _alpha(file, "lora_alpha")
    with reasons:
        alphas = file.values.get("alpha_pattern") or {}
        if not isinstance(alphas, dict) or not all(map(_is_pattern, alphas)):
            raise file.wrong("alpha_pattern", "names of modules with at most two of * + ? {")
        of_modules = Entries(f"{path}: alpha_pattern", alphas)
        alphas = {key: _alpha(of_modules, key) for key in alphas}
    with reasons:
        root = file.flag("use_rslora", False) if file.values.get("use_rslora") else False
    reasons.check()
    return _Scales(r, alpha, root, alphas, bool(file.values.get("rank_pattern")))


def _alpha(file: Entries, name: str) -> float:
    alpha = file.number(name, 8)
    if not 0 < alpha <= 1e6:
        raise file.wrong(name, "a number above 0, at most 1,000,000")
    return alpha


def _is_pattern(key: str) -> bool:
    """Whether a text is a regular expression that is fast for every name."""
    try:
        re.compile(key)
    except (re.error, RecursionError, OverflowError):
        return False
    return len(re.findall(r"[*+?{]", key)) <= 2 and not re.search(r"\)[*+?{]", key)


def _weights(model: Adapted) -> Iterator[Weight]:
    """The weights that others may replace: of a Gemma, whose gains differ from ours, no gain."""
    folder = _folder_of(model)
    for weight in folder.weights(model.config):
        if not (folder.gain and weight.name.endswith(".gain")):
            yield weight


def _module_of(name: str, model: Adapted) -> tuple[str, str, str]:
    """The module of a tensor of an addition, without prefixes, the side, and its whole name.

    For any other tensor its own name, without prefixes, and "".
    """
    plain, inner = _folder_of(model).plain, name.removeprefix(_PREFIX)
    for ends in (_SIDES, _OF_TABLES):
        for side, ending in ends.items():
            if inner != name and inner.endswith(ending):
                module = inner.removesuffix(ending)
                return plain(module), side, module
    own = plain(inner.replace(_INNER, ".").replace(_SAVED, "."))
    return (own if inner != name else ""), "", inner


def _read_pair(
    path: Path,
    module: str,
    stored: Mapping[tuple[str, str], tuple[str, Tensor]],
    scales: _Scales,
    model: Adapted,
    place: tuple[str, slice],
) -> tuple[NDArray, NDArray]:
    """A (I, r) and B (r, O) of a module, as an addition to our weight, with our one scale."""
    ours, columns = place
    if ours.endswith(".E") and not isinstance(model.params[ours], np.ndarray):
        raise InputError(f"{path}: {module}: expected a table of floats, found a quantised one")
    full, first = stored.get((module, "A"), ("", None))
    rank = first.shape[0] if scales.ranks and first is not None and first.shape else scales.rank
    (I, O), width = model.params[ours].shape, columns.stop - columns.start
    shapes = {"A": (rank, I), "B": (width, rank)}
    arrays = {}
    for side, shape in shapes.items():
        name = f"{_PREFIX}...{module}{_sides(ours)[side]}"
        tensor = checked(path, name, stored.get((module, side), ("", None))[1], shape)
        arrays[side] = np.empty(shape, np.float32)
        read_finite(tensor, name, arrays[side])
    B = np.zeros((rank, O), np.float32)
    factor = scales.of(rank, full) / scales.of(scales.rank)
    B[:, columns] = arrays["B"].T * np.float32(factor)
    return arrays["A"].T, B


def _read_replaced(
    path: Path, whole: Mapping[str, Tensor], model: Adapted
) -> dict[str, NDArray[np.float32]]:
    """The weights that an adapter replaces by its own, with all their tensors."""
    replaced, reasons = {}, Reasons()
    tied, described = _folder_of(model).tied(model.config), {}
    for weight in _weights(model):
        given = {name: whole[name] for name in weight.columns if name in whole}
        if not given:
            continue
        before = dense(model.params[weight.name])
        described[weight.name] = array = before.astype(np.float32)
        for name, tensor in given.items():
            with reasons:
                checked(path, name, tensor, weight.shapes()[name])
                read_finite(tensor, name, weight.views(array)[name])
        if not np.array_equal(array, before):
            replaced[weight.name] = array
    for second, (first, ours) in tied.items():
        with reasons:
            same = second in whole and ours in described
            if same and not np.array_equal(whole[second].read(), described[ours]):
                same = False
            if (second in whole or ours in replaced) and not same:
                raise InputError(
                    f"{path}: expected the same weights under {first} and {second}, found others: "
                    "an output that is not tied to the embedding cannot be run"
                )
    reasons.check()
    return replaced


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

    ``additions`` are A and B, and weights that replace others.  ``baseline`` is the name of the
    model that they belong to.  ``whole``: it is loaded with its heads; else as a GPT2Model,
    LlamaModel or BertModel.  InputError for an addition that PEFT does not support.
    """
    parts: dict[str, tuple[NDArray, NDArray]] = {}
    modules, made = _modules(model), _folder_of(model)
    supported = {f"{ours}.{side}" for ours, _ in modules.values() for side in "AB"}
    supported |= {weight.name for weight in _weights(model)}
    for name in additions:
        if name not in supported:
            raise InputError(
                f"{name}: expected an addition to a linear layer, or to a table that is not the "
                "output, too, found one to another weight"
            )
    for module, (ours, columns) in modules.items():
        if f"{ours}.A" in additions:
            A, B = additions[f"{ours}.A"], additions[f"{ours}.B"]
            part = B[:, columns]
            used = part.any(axis=1) if B.any() else np.ones(len(B), bool)
            if used.any():
                parts[module] = (A[:, used], part[used])

    def name_of(plain: str) -> str:
        return made.stored(plain, model.config) if whole else plain

    if not parts:
        raise InputError(
            f"{folder}: expected an addition A B, which PEFT needs, found whole weights only: "
            "merge the run, with minillm merge"
        )
    rank = max(A.shape[1] for A, _ in parts.values())
    tensors = {}
    for module, (A, B) in parts.items():
        missing, sides = ((0, rank - A.shape[1]), (0, 0)), _sides(modules[module][0])
        tensors[_PREFIX + name_of(module) + sides["A"]] = np.pad(A.T, missing)
        tensors[_PREFIX + name_of(module) + sides["B"]] = np.pad(B, missing).T
    replaced = _replaced(model, additions)
    saved = set()
    for name, array in replaced.items():
        module, _, last = name.rpartition(".")
        if module in parts:
            name = f"{module}{_INNER}{last}"
        elif f"{module}.weight" in replaced:
            saved.add(name_of(module))
        tensors[_PREFIX + name_of(name)] = array
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if whole and not isinstance(model, BERT | Encoder) else None,
        "base_model_name_or_path": baseline,
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": 0.0,
        "target_modules": sorted(parts),
        "fan_in_fan_out": isinstance(model, GPT),
        "bias": "all" if any(name.endswith("bias") for name in replaced) else "none",
        "modules_to_save": sorted(saved) or None,
        "inference_mode": True,
    }
    write_folder(folder, {CONFIG: json_file(config)}, tensors, WEIGHTS)


def _replaced(model: Adapted, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The tensors of the weights that replace others, by their names.

    PEFT copies whole modules, so the other tensors of these modules are among them.
    """
    tied = _folder_of(model).tied(model.config)
    new = {n for weight in _weights(model) if weight.name in arrays for n in weight.columns}
    modules = {name.removesuffix(".weight") for name in new if name.endswith(".weight")}
    tensors: dict[str, NDArray] = {}
    for weight in _weights(model):
        names = {n for n in weight.columns if n in new or n.rpartition(".")[0] in modules}
        if names:
            array = dense(arrays.get(weight.name, model.params[weight.name]))
            tensors |= {name: weight.views(array)[name] for name in names}
    return tensors | {
        second: tensors[first] for second, (first, _) in tied.items() if first in tensors
    }


class PEFT(Format):
    """Folders of additions, also those to the encoder of a fine-tuned model."""

    name = "peft"
    models = (GPT, Llama, Variant, BERT, Encoder)
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
            arrays = {n.removeprefix(PREFIX): a for n, a in arrays.items() if n.startswith(PREFIX)}
        if not isinstance(model, Adapted):
            raise InputError(
                f"{path}: expected additions to a gpt, a llama, a variant, a bert or an encoder, "
                f"found {type(model).__name__}"
            )
        scale = contents.alpha / contents.rank
        write_adapter(path, model, arrays, scale, contents.baseline, whole)
