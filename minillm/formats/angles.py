"""The angles of a rotary embedding in files of other programs (:mod:`minillm.ops.rotary_scaling`).

In transformers' config.json they are in ``rope_theta`` and ``rope_scaling``, or, since transformers
5, both in ``rope_parameters``.  In a GGUF file they are in entries ``X.rope.*``, where X is the
architecture, and divisors of the angles are a tensor.
"""

from dataclasses import MISSING, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.errors import InputError
from minillm.models.llama import LlamaConfig
from minillm.ops.rotary_scaling import (
    LARGEST,
    Linear,
    Llama3,
    Scaling,
    Yarn,
    frequencies,
    yarn_attention_factor,
)

# --- config.json ---------------------------------------------------------------------------------

_CLASSES: dict[str, Any] = {"linear": Linear, "llama3": Llama3, "yarn": Yarn}
# "dynamic" changes the angles of texts that are longer than the context, and our models read none.
_NONE = ("default", "dynamic")
_ORIGINAL = "original_max_position_embeddings"
_THEIRS = {  # names of the fields of ours
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_context": _ORIGINAL,
}


def read_angles(file: Entries) -> tuple[float, Scaling | None]:
    """The base of the angles in a config.json, and their scaling.

    As in transformers, ``rope_scaling`` replaces ``rope_parameters`` and its base, and an original
    context next to them in the file replaces the one inside.
    """
    values = file.values
    name = "rope_scaling" if values.get("rope_scaling") else "rope_parameters"
    given = values.get(name) or {}
    if not isinstance(given, dict):
        raise file.wrong(name, "an object or null")
    outside = values.get("rope_theta"), values.get(_ORIGINAL)
    angles = {"rope_theta": outside[0], **given, _ORIGINAL: outside[1] or given.get(_ORIGINAL)}
    angles = {name: value for name, value in angles.items() if value is not None}
    angles.setdefault("rope_type", angles.pop("type", "default"))
    part = Entries(f"{file.path}: {name}", angles)
    base, kind = part.number("rope_theta", 10000.0), angles["rope_type"]
    part.check("rope_type", (*_NONE, *_CLASSES))
    for one in (part, file):
        one.check("partial_rotary_factor", (1.0, None))
    if kind in _NONE:
        return base, None
    context = file.size("max_position_embeddings")
    with in_file(part.path):
        return base, _scaling(part, _CLASSES[kind], context)


def _scaling(part: Entries, Class: Any, context: int) -> Scaling:
    """A scaling, from the entries of its fields; some have defaults."""
    original = part.number(_ORIGINAL, context)
    defaults: dict[str, Any] = {"original_context": original}
    if Class is Yarn:  # NaN, which no scaling takes, of a division by 0
        factor = part.number("factor", context / original if original else float("nan"))
        defaults |= {"factor": factor, "attention_factor": yarn_attention_factor(factor)}
        part.check_all(dict.fromkeys(("mscale", "mscale_all_dim"), (None, 0)))
    found = dict[str, Any]()
    for entry in fields(Class):
        default = defaults.get(entry.name, entry.default)
        read: Any = part.flag if isinstance(default, bool) else part.number
        found[entry.name] = read(
            _THEIRS.get(entry.name, entry.name), *(() if default is MISSING else (default,))
        )
    return Class(**found)


def angle_entries(config: LlamaConfig) -> dict[str, Any]:
    """The entries of a config.json: the inverse of :func:`read_angles`."""
    scaling, entries = config.rope_scaling, {"rope_theta": config.rotary_base}
    if scaling is None:
        return entries | {"rope_scaling": None}
    kind = next(kind for kind, Class in _CLASSES.items() if isinstance(scaling, Class))
    found = {_THEIRS.get(name, name): value for name, value in vars(scaling).items()}
    if _ORIGINAL in found:
        found[_ORIGINAL] = int(found[_ORIGINAL])
    return entries | {"rope_scaling": {"rope_type": kind, **found}}


# --- GGUF ----------------------------------------------------------------------------------------

DIVISORS = "rope_freqs.weight"  # (w/2,): a divisor of each angle, as in Llama 3
_KINDS = ("linear", "none", "yarn")  # the first is llama.cpp's default
_LENGTH = "original_context_length"  # llama.cpp uses it for Yarn alone
_KNOWN = ("type", "factor", "attn_factor", _LENGTH, "finetuned")
_SCALING = Llama3(1.0, 1.0, 4.0, 8192.0)  # of all published Llamas since 3.1, but for the factor


def single(entries: Entries, name: str, default: float) -> float:
    """A float32, as the shortest decimal number that it is."""
    with np.errstate(over="ignore"):
        return float(str(np.float32(entries.number(name, default))))


def read_gguf_angles(
    file: Entries, architecture: str, config: LlamaConfig, divisors: NDArray | None
) -> Scaling | None:
    """The scaling of the angles in a GGUF file with these divisors, (w/2,), if it has some."""
    prefix = f"{architecture}.rope.scaling."
    file.check(f"{prefix}type", _KINDS)
    for name in file.values:
        if name.startswith(prefix) and name.removeprefix(prefix) not in _KNOWN:
            raise file.wrong(name, "none: this scaling of angles cannot be run")
    kind = file.values.get(f"{prefix}type", _KINDS[0])
    # Of two names for one factor, the first one counts; 0 is no factor.
    older = single(file, f"{architecture}.rope.scale_linear", 0.0)
    factor = single(file, f"{prefix}factor", older) or 1.0
    attention = single(file, f"{prefix}attn_factor", 1.0)
    if divisors is not None and (divisors == 1).all():
        divisors = None
    usual = config.context if divisors is None else _SCALING.original_context
    original = file.number(f"{prefix}{_LENGTH}", usual)
    if kind != "yarn":
        file.check(f"{prefix}attn_factor", (1,), "1: scaled attention cannot be run")
    if divisors is not None and (kind == "yarn" or (kind == "linear" and factor != 1)):
        expected = f"one scaling of the angles, found {DIVISORS} and {kind}"
        raise InputError(f"{file.path}: expected {expected}")
    with in_file(file.path):
        if divisors is not None:
            return _llama3_of(file, config, divisors, replace(_SCALING, original_context=original))
        if kind == "yarn":
            attention *= yarn_attention_factor(factor)
            return Yarn(factor, original, attention_factor=attention)
        return Linear(factor) if kind == "linear" and factor != 1 else None


def _llama3_of(file: Entries, config: LlamaConfig, divisors: NDArray, usual: Llama3) -> Llama3:
    """The usual scaling with a factor that has these divisors; InputError where it has others."""
    # The slowest pair has 1 / divisor = r + (1 - r) / factor, where r depends on no factor.
    r = 1 / _divisors(config, replace(usual, factor=LARGEST))[-1]
    slowest = float(divisors[-1])
    factor = (1 - r) / (1 / slowest - r) if slowest > 1 and r * slowest < 1 else 0.0
    if factor > 0:
        scaling = replace(usual, factor=float(f"{factor:.5g}"))
        if np.allclose(divisors, _divisors(config, scaling), rtol=1e-4, atol=0):
            return scaling
    raise InputError(f"{file.path}: {DIVISORS}: expected the factors of Llama 3, found others")


def _divisors(config: LlamaConfig, scaling: Llama3) -> NDArray[np.float32]:
    """The divisor of each angle, (w/2,)."""
    w, base = config.head_width, config.rotary_base
    return (frequencies(w, base) / scaling.frequencies(w, base)).astype(np.float32)


def gguf_angles(
    config: LlamaConfig, architecture: str
) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """The entries and the tensor of a scaling: the inverse of :func:`read_gguf_angles`."""
    scaling, entries, tensors = config.rope_scaling, dict[str, Any](), dict[str, Any]()
    if isinstance(scaling, Linear):
        entries = {"type": "linear", "factor": scaling.factor}
    elif scaling is not None:
        factor, original = scaling.factor, max(1, int(scaling.original_context))
        entries = {_LENGTH: original}
        usual: Scaling = replace(_SCALING, factor=factor, original_context=float(original))
        if isinstance(scaling, Yarn):
            attention = scaling.attention_factor
            usual = Yarn(factor, float(original), attention_factor=attention)
            entries |= {"type": "yarn", "factor": factor}
            entries["attn_factor"] = attention / yarn_attention_factor(factor)
        else:
            tensors = {DIVISORS: _divisors(config, scaling)}
        if scaling != usual:
            raise InputError(f"rope_scaling: expected {usual} in a GGUF file, found {scaling}")
    prefix = f"{architecture}.rope.scaling."
    return {prefix + name: value for name, value in entries.items()}, tensors
