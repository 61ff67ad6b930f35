"""The angles of a rotary embedding in files of other programs (:mod:`minillm.ops.rotary_scaling`).

In transformers' config.json they are in ``rope_theta`` and ``rope_scaling``, or, since transformers
5, both in ``rope_parameters``.  In a GGUF file they are in entries ``X.rope.*``, where X is the
architecture, and divisors of the angles are tensors.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.errors import InputError
from minillm.models.llama import LlamaConfig
from minillm.ops.rotary import Scaling, frequencies
from minillm.ops.rotary_scaling import (
    LARGEST,
    Linear,
    Llama3,
    LongRope,
    Yarn,
    longrope_attention_factor,
    yarn_attention_factor,
)

# --- config.json ---------------------------------------------------------------------------------

ORIGINAL = "original_max_position_embeddings"
_CLASSES = {"linear": Linear, "llama3": Llama3, "yarn": Yarn, "longrope": LongRope}
# "su" is an older name.  "dynamic" changes the angles of texts that are longer than the context,
# and our models read none.
_KINDS = {"default": "", "dynamic": "", **{kind: kind for kind in _CLASSES}, "su": "longrope"}
_THEIRS = {  # names of the fields of ours
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_context": ORIGINAL,
    "short": "short_factor",
    "long": "long_factor",
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
    angles = {"rope_theta": values.get("rope_theta", 10000.0)} | given
    if values.get(ORIGINAL) is not None:
        angles[ORIGINAL] = values[ORIGINAL]
    angles = {name: value for name, value in angles.items() if value is not None}
    angles.setdefault("rope_type", angles.pop("type", "default"))
    part = Entries(f"{file.path}: {name}", angles)
    base, kind = part.number("rope_theta", 10000.0), angles["rope_type"]
    if not isinstance(kind, str) or kind not in _KINDS:
        raise part.wrong("rope_type", " or ".join(map(repr, _KINDS)))
    for one in (part, file):
        one.check("partial_rotary_factor", (1.0, None))
    Class: Any = _CLASSES.get(_KINDS[kind])
    if Class is None:
        return base, None
    with in_file(part.path):
        return base, _read(part, Class, file.size("max_position_embeddings"))


def _read(part: Entries, Class: Any, context: int) -> Scaling:
    """A scaling, from the entries of its fields; some have defaults."""
    defaults, found = _defaults(part, Class, context), dict[str, Any]()
    for entry in fields(Class):
        theirs = _THEIRS.get(entry.name, entry.name)
        default = defaults.get(entry.name, entry.default)
        if entry.name in ("short", "long"):
            found[entry.name] = part.numbers(theirs)
        elif isinstance(default, bool):
            found[entry.name] = part.flag(theirs, default)
        else:
            found[entry.name] = part.number(theirs, *(() if default is MISSING else (default,)))
    return Class(**found)


def _defaults(part: Entries, Class: Any, context: int) -> dict[str, float]:
    """The numbers that follow from others; NaN, which no scaling takes, of a division by 0."""
    original = part.number(ORIGINAL, context)
    found = {"original_context": original}
    if Class is Yarn or Class is LongRope:
        found["factor"] = part.number("factor", _ratio(context, original))
    if Class is LongRope:
        found["attention_factor"] = longrope_attention_factor(found["factor"], original)
    if Class is Yarn:
        scales = [part.number(name, 0.0) for name in ("mscale", "mscale_all_dim")]
        if not all(scales):
            scales = [1.0, 0.0]
        above, below = (yarn_attention_factor(found["factor"], scale) for scale in scales)
        found["attention_factor"] = _ratio(above, below)
    return found


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")


def config_entries(config: LlamaConfig) -> dict[str, Any]:
    """The entries of a config.json: the inverse of :func:`read_angles`."""
    scaling, entries = config.rope_scaling, {"rope_theta": config.rotary_base}
    if scaling is None:
        return entries | {"rope_scaling": None}
    kind = next(kind for kind, Class in _CLASSES.items() if isinstance(scaling, Class))
    found = {_THEIRS.get(name, name): value for name, value in vars(scaling).items()}
    if ORIGINAL in found:
        found[ORIGINAL] = int(found[ORIGINAL])
    if isinstance(scaling, LongRope):
        found["factor"] = max(1.0, config.context / scaling.original_context)
    return entries | {"rope_scaling": {"rope_type": kind, **found}}


# --- GGUF ----------------------------------------------------------------------------------------

_LLAMA3 = "rope_freqs.weight"  # (w/2,): a divisor of each angle
_SHORT, _LONG = "rope_factors_short.weight", "rope_factors_long.weight"
ANGLE_TENSORS = (_LLAMA3, _SHORT, _LONG)
_GGUF_KINDS = ("linear", "none", "yarn", "longrope")  # the first is llama.cpp's default
# Entries that may vary in llama.cpp, but not in ours.  In most architectures llama.cpp ignores the
# two betas, so that it does not run what the authors meant.
_FIXED = {
    "yarn_beta_fast": (32,),
    "yarn_beta_slow": (1,),
    "yarn_ext_factor": (1, -1),
    "yarn_attn_factor": (1, -1),
    "yarn_log_multiplier": (0,),
}
_SCALING = Llama3(1.0, 1.0, 4.0, 8192.0)  # of all Llamas since 3.1, except for the factor


def single(entries: Entries, name: str, default: float) -> float:
    """A float32, as the shortest decimal number that it is."""
    return _shortest(entries.number(name, default))


def _shortest(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


def read_gguf_angles(
    file: Entries, architecture: str, config: LlamaConfig, divisors: Mapping[str, NDArray]
) -> Scaling | None:
    """The scaling of the angles in a GGUF file with these ANGLE_TENSORS, (w/2,) each."""
    prefix = f"{architecture}.rope.scaling."
    kind = file.values.get(f"{prefix}type", _GGUF_KINDS[0])
    file.check_all({prefix + name: only for name, only in {"type": _GGUF_KINDS, **_FIXED}.items()})
    # Of two names for one factor, the first one counts; 0 is no factor.
    older = single(file, f"{architecture}.rope.scale_linear", 0.0)
    factor = single(file, f"{prefix}factor", older) or 1.0
    attention = single(file, f"{prefix}attn_factor", 1.0)
    original = float(file.number(f"{prefix}original_context_length", config.context))
    found: list[Scaling] = []
    with in_file(file.path):
        if kind == "yarn":
            attention *= yarn_attention_factor(factor)
            found.append(Yarn(factor, original, attention_factor=attention))
        elif kind != "none" and factor != 1:
            found.append(Linear(factor))
        if _SHORT in divisors and _LONG in divisors:
            short, long = (tuple(map(_shortest, divisors[name])) for name in (_SHORT, _LONG))
            found.append(LongRope(short, long, original, attention))
    if _LLAMA3 in divisors and (divisors[_LLAMA3] != 1).any():
        found.append(_llama3_of(file, config, divisors[_LLAMA3]))
    if len(found) > 1:
        names = " and ".join(type(one).__name__ for one in found)
        raise InputError(f"{file.path}: expected one scaling of the angles, found {names}")
    if attention != 1 and not isinstance(found[0] if found else None, Yarn | LongRope):
        raise file.wrong(f"{prefix}attn_factor", "1: scaled attention cannot be run")
    return found[0] if found else None


def _llama3_of(file: Entries, config: LlamaConfig, divisors: NDArray) -> Llama3:
    """Llama 3's scaling with these divisors; InputError where it has others."""
    # The slowest pair has 1 / divisor = r + (1 - r) / factor, where r depends on no factor.
    r = 1 / _divisors(config, replace(_SCALING, factor=LARGEST))[-1]
    slowest = float(divisors[-1])
    factor = (1 - r) / (1 / slowest - r) if slowest > 1 and r * slowest < 1 else 0.0
    if factor > 0:
        scaling = replace(_SCALING, factor=float(f"{factor:.5g}"))
        if np.allclose(divisors, _divisors(config, scaling), rtol=1e-4, atol=0):
            return scaling
    raise InputError(f"{file.path}: {_LLAMA3}: expected the factors of Llama 3, found others")


def _divisors(config: LlamaConfig, scaling: Llama3) -> NDArray:
    """The divisor of each angle, (w/2,)."""
    w, base = config.head_width, config.rotary_base
    return frequencies(w, base) / scaling.frequencies(w, base, 0)


def gguf_angles(
    config: LlamaConfig, architecture: str
) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """The entries and the tensors of a scaling: the inverse of :func:`read_gguf_angles`."""
    scaling, entries, tensors = config.rope_scaling, dict[str, Any](), dict[str, Any]()
    if isinstance(scaling, Llama3):
        tensors[_LLAMA3] = _divisors(config, scaling)
    elif isinstance(scaling, Linear):
        entries |= {"type": "linear", "factor": scaling.factor}
    elif isinstance(scaling, Yarn):
        for name in ("beta_fast", "beta_slow", "truncate"):
            if (value := getattr(scaling, name)) != (only := getattr(Yarn, name)):
                place = f"rope_scaling: {name}"
                raise InputError(f"{place}: expected {only} in a GGUF file, found {value}")
        entries |= {
            "type": "yarn",
            "factor": scaling.factor,
            "attn_factor": scaling.attention_factor / yarn_attention_factor(scaling.factor),
        }
    elif isinstance(scaling, LongRope):
        entries |= {"type": "longrope", "attn_factor": scaling.attention_factor}
        tensors |= {_SHORT: np.array(scaling.short), _LONG: np.array(scaling.long)}
    if isinstance(scaling, Yarn | LongRope):
        entries["original_context_length"] = int(scaling.original_context)
    prefix = f"{architecture}.rope.scaling."
    return (
        {prefix + name: value for name, value in entries.items()},
        {name: array.astype(np.float32) for name, array in tensors.items()},
    )
