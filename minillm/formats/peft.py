"""LoRA's additions as Hugging Face's library PEFT stores them, for a GPT-2, Llama or BERT.

    adapter_config.json         the rank r, lora_alpha, and the modules that have an addition
    adapter_model.safetensors   base_model.model. + a module's name + .lora_A.weight (r, I) and
                                .lora_B.weight (O, r): the transposes of ours
                                and whole tensors, which replace others of the model: biases, and
                                those of modules_to_save

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
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries
from minillm.data.files import read_json
from minillm.errors import InputError, short
from minillm.formats.folder import check_floats, json_file, read_finite, write_folder
from minillm.formats.format import Format, LoraWeights
from minillm.formats.huggingface import layout_of
from minillm.formats.layout import plain, stored, tied, weights
from minillm.formats.tensors import Tensor, open_tensors
from minillm.formats.weights import tensor_of
from minillm.models.bert import BERT
from minillm.models.decoders import Decoder
from minillm.models.encoders import Encoder
from minillm.models.fine_tuned import PREFIX, FineTuned, encoder_of
from minillm.models.gpt import GPT
from minillm.models.llama import Llama
from minillm.quantised.matrix import dense

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_ADDITION = re.compile(r"(.*)\.lora_([AB])\.weight")
_INNER = ".base_layer."  # in the names of a module's own tensors, if it has an addition
_SAVED = ".modules_to_save."  # in some names of tensors that replace others
_UNUSED = ".original_module."  # in the names of those that are replaced, which may be stored, too

# Entries that mean more than W + s A B, although no tensor shows it.
_REFUSED = (
    "use_dora", "use_bdlora", "alora_invocation_tokens", "trainable_token_indices",
    "layer_replication", "arrow_config",
)  # fmt: skip
# Initial values that leave the weights of the baseline unchanged.  Others subtract from them.
_INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")

ADAPTED = (GPT, Llama, Decoder, BERT, Encoder)


class _Baseline:
    """A model that has adapters, with the names of its modules and tensors in transformers."""

    def __init__(self, model: Any):
        self.model = model
        layout = layout_of(model)
        if layout is None or not isinstance(model, ADAPTED):
            raise InputError(
                "expected additions to a gpt, a llama, a decoder, a bert or an encoder, "
                f"found {type(model).__name__}"
            )
        self.layout = layout
        # Without a table that is the output, too, because PEFT would change only one of the two.
        names = {(second, *one) for second, one in tied(layout, model.config).items()}
        tables = {one for *two, ours in names if ours.endswith(".E") for one in two}
        self.tied = tuple(table.removesuffix("weight") for table in tables)
        self.first = {second: first for second, first, _ in names if first not in tables}
        self.weights = [w for w in weights(layout, model.config) if tables.isdisjoint(w.columns)]
        self.modules: dict[str, tuple[str, slice]] = {  # our weight, and its columns
            name.removesuffix(".weight"): (weight.name, columns)
            for weight in self.weights
            if len(weight.shape) == 2 and not weight.name.endswith(".E")
            for name, columns in weight.columns.items()
        }


# --- reading -----------------------------------------------------------------


class _Scales(NamedTuple):
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


def read_adapter(folder: str | Path, model: Any) -> tuple[dict[str, NDArray], int, float]:
    """The additions to a model's weights, named as in minillm/training/lora.py; r and alpha.

    Among them are the weights that replace others.  InputError names the file, and the entries or
    tensors that are missing, damaged, or mean more than W + s A B.
    """
    path, known = Path(folder) / WEIGHTS, _Baseline(model)
    scales = _read_config(Path(folder) / CONFIG)
    sides, full, whole = dict[str, Tensor](), dict[str, str](), dict[str, Tensor]()
    names = {name for weight in known.weights for name in weight.columns}
    for name, tensor in open_tensors(path)[0].items():
        inner = name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ""
        own = plain(known.layout, inner.replace(_INNER, ".").replace(_SAVED, "."))
        own = known.first.get(own, own)
        found = _ADDITION.fullmatch(inner)
        if found and (module := plain(known.layout, found[1])) in known.modules:
            full[module] = found[1]
            sides[f"{module}.lora_{found[2]}"] = tensor
        elif own in names:
            whole[own] = tensor
        elif own.startswith(known.tied):
            raise InputError(
                f"{path}: {short(name)}: expected no update of the table of tokens, which is tied "
                "to the output: PEFT updates only one of the two"
            )
        elif _UNUSED not in name:
            raise InputError(
                f"{path}: {short(name)}: expected lora_A or lora_B of a linear layer of the "
                f"baseline, such as {_PREFIX}{next(iter(known.modules))}.lora_A.weight, or one of "
                "its tensors, found it"
            )
    check_floats({**sides, **whole})
    arrays: dict[str, NDArray] = {}
    for module, (ours, columns) in known.modules.items():
        if module in full:
            A, B = _read_pair(path, sides, module, model.params[ours].shape, columns, scales)
            B *= np.float32(scales.of(A.shape[1], full[module]) / scales.of(scales.rank))
            for name, part, axis in ((f"{ours}.A", A, 1), (f"{ours}.B", B, 0)):
                parts = [arrays[name], part] if name in arrays else [part]
                arrays[name] = np.ascontiguousarray(np.concatenate(parts, axis))
    if not arrays:
        raise InputError(f"{path}: expected the tensors of additions, found none")
    for weight in known.weights:
        before = dense(model.params[weight.name])
        array = before.astype(np.float32)
        for name in whole.keys() & weight.columns.keys():
            tensor = tensor_of(path, whole, name, weight.shapes()[name])
            read_finite(tensor, name, view := weight.views(array)[name])
            view += known.layout.offset(weight.name)
        if not np.array_equal(array, before):
            arrays[weight.name] = array
    return arrays, scales.rank, scales.of(scales.rank) * scales.rank


def _read_config(path: Path) -> _Scales:
    """The settings; InputError for an adapter that is not W + s A B."""
    values = {"r": 8, "lora_alpha": 8, "use_rslora": False} | read_json(path)
    file = Entries(path, values)
    refused = dict.fromkeys(_REFUSED, (None, False))
    file.check_all({"peft_type": ("LORA",), "init_lora_weights": _INITIAL, **refused})
    patterns = values.get("alpha_pattern") or {}
    of_modules = Entries(f"{path}: alpha_pattern", patterns)
    try:
        alphas = {key: of_modules.number(key) for key in patterns if re.compile(key)}
    except (AttributeError, TypeError, re.error, RecursionError, OverflowError):
        raise file.wrong("alpha_pattern", "numbers by patterns of modules' names") from None
    alpha = file.number("lora_alpha")
    if not all(0 < one <= 1e6 for one in (alpha, *alphas.values())):
        raise file.wrong("lora_alpha", "a number above 0, at most 1,000,000, as in alpha_pattern")
    root, ranks = file.flag("use_rslora", False), bool(values.get("rank_pattern"))
    return _Scales(file.size("r"), alpha, root, alphas, ranks)


def _read_pair(
    path: Path,
    tensors: Mapping[str, Tensor],
    module: str,
    shape: tuple[int, int],
    columns: slice,
    scales: _Scales,
) -> tuple[NDArray, NDArray]:
    """A (I, r) and B (r, O) of a module, as an addition to our weight, without its scale."""
    I, O = shape
    first: Any = tensor_of(path, tensors, f"{module}.lora_A")
    rank = first.shape[0] if scales.ranks and first.shape else scales.rank
    tensor_of(path, tensors, f"{module}.lora_A", (rank, I))  # before memory of any rank is taken
    A, B = np.empty((rank, I), np.float32), np.zeros((rank, O), np.float32)
    for side, array in (("A", A), ("B", B[:, columns].T)):
        name = f"{module}.lora_{side}"
        read_finite(tensor_of(path, tensors, name, array.shape), name, array)
    return A.T, B


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

    ``additions`` are A and B, and weights that replace others.  ``baseline`` is the name of the
    model that they belong to.  ``whole``: it is loaded with its heads; else as a GPT2Model,
    LlamaModel or BertModel.  InputError for an addition that PEFT does not support.
    """
    known = _Baseline(model)
    supported = {f"{ours}.{side}" for ours, _ in known.modules.values() for side in "AB"}
    supported |= {weight.name for weight in known.weights}
    for name in sorted(additions.keys() - supported):
        raise InputError(f"{name}: expected an addition to a linear layer, found another one")

    def theirs(name: str) -> str:
        return stored(known.layout, name, model.config) if whole else name

    parts: dict[str, tuple[NDArray, NDArray]] = {}
    for module, (ours, columns) in known.modules.items():
        if f"{ours}.A" in additions:
            A, B = additions[f"{ours}.A"], additions[f"{ours}.B"]
            part = B[:, columns]
            used = part.any(axis=1) if B.any() else np.ones(len(B), bool)
            if used.any():
                parts[module] = (A[:, used], part[used])
    if not parts:
        raise InputError(
            f"{folder}: expected an addition A B, which PEFT needs, found whole weights only: "
            "merge the run, with minillm merge"
        )
    rank, tensors = max(A.shape[1] for A, _ in parts.values()), dict[str, NDArray]()
    for module, (A, B) in parts.items():
        missing = ((0, rank - A.shape[1]), (0, 0))
        tensors[f"{_PREFIX}{theirs(module)}.lora_A.weight"] = np.pad(A.T, missing)
        tensors[f"{_PREFIX}{theirs(module)}.lora_B.weight"] = np.pad(B, missing).T
    replaced, saved = _replaced(known, additions), set()
    for name, array in replaced.items():
        module, _, last = name.rpartition(".")
        if module in parts:
            name = f"{module}{_INNER}{last}"
        elif f"{module}.weight" in replaced:
            saved.add(theirs(module))
        tensors[_PREFIX + theirs(name)] = array
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if whole and known.layout.causal else None,
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


def _replaced(baseline: _Baseline, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The tensors of the weights that replace others, by their names.

    PEFT copies whole modules, so the other tensors of these modules are among them.
    """
    new = {n for weight in baseline.weights if weight.name in arrays for n in weight.columns}
    modules = {name.removesuffix(".weight") for name in new if name.endswith(".weight")}
    tensors: dict[str, NDArray] = {}
    for weight in baseline.weights:
        names = {n for n in weight.columns if n in new or n.rpartition(".")[0] in modules}
        if names:
            array = dense(arrays.get(weight.name, baseline.model.params[weight.name]))
            views = weight.views(array - baseline.layout.offset(weight.name))
            tensors |= {name: views[name] for name in names}
    return tensors


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
