"""``--init``: a run that begins with the weights of another one.

It takes the tokenizer of that run, because the embeddings belong to its ids, and its sizes.  Three
methods of :class:`minillm.runs.kind.Kind` define what a kind takes from other runs:
``init_defaults``, ``tokenizer_options`` and ``names_from``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from minillm.errors import InputError
from minillm.runs.kind import Data, Kind, Parts
from minillm.runs.opening import weights_from
from minillm.runs.run import Run
from minillm.runs.settings import LENGTHS
from minillm.text import load_tokenizer

ONLY_WITH_INIT = ("freeze", "lora_rank", "lora_alpha", "lora_targets", "replay")
ONLY_WITH_LORA = ("lora_alpha", "lora_targets")


def with_init_defaults(kind: Kind, initial: Run | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, with the defaults of a run that begins with another one.

    InputError for a run that this kind cannot begin with, or for options of another tokenizer.
    """
    if initial is None:
        _check_without(given, ONLY_WITH_INIT, "--init DIR")
        return dict(given)
    if not given.get("lora_rank"):
        _check_without(given, ONLY_WITH_LORA, "--lora-rank R")
    defaults = kind.init_defaults(initial, given)
    _check_tokenizer(kind, initial, given)
    if any(given.get(name) is not None for name in LENGTHS):
        defaults = {name: value for name, value in defaults.items() if name not in LENGTHS}
    return {**defaults, **given}


def _check_without(given: Mapping[str, Any], names: Iterable[str], needed: str) -> None:
    for name in names:
        if given.get(name):
            raise InputError(f"--{name.replace('_', '-')}: expected {needed} with it, found none")


def _check_tokenizer(kind: Kind, initial: Run, given: Mapping[str, Any]) -> None:
    """InputError for options of another tokenizer than the run's."""
    options = kind.tokenizer_options(initial)
    own = {name: getattr(initial.settings, name, None) for name in options}
    tokenizer = getattr(initial, "tokenizer", None)
    comes = "its tokenizers are taken"
    if tokenizer is not None:
        comes = f"its tokenizer is taken ({len(tokenizer):,} tokens, {tokenizer.unit})"
        own["unit"] = tokenizer.unit
    for name in options:
        value = given.get(name)
        if name == "tokenizer" and value and tokenizer is not None:
            other = load_tokenizer(value)
            if other.to_dict() == tokenizer.to_dict():
                continue
            value = f"another ({len(other):,} tokens, {other.unit})"
        if value not in (None, False, own[name]):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: with --init {initial.path} {comes}; found {value}")


def take_weights(kind: Kind, initial: Run, parts: Parts, data: Data) -> set[str]:
    """Copy the weights of ``--init`` into a new model, and return the names of all other weights.

    A line about the weights taken, new and left out is added to the notes of ``parts``.  InputError
    names a weight that does not fit.
    """
    params = parts.model.params
    taken = weights_from(initial, kind, data, {name: p.shape for name, p in params.items()})
    for name, array in taken.items():
        params[name][...] = array
    new = params.keys() - taken.keys()
    names = kind.names_from(initial, data)
    left = [theirs for theirs in initial.model.params if names.get(theirs) not in taken]
    count = sum(array.size for array in taken.values())
    line = f"from {initial.path} ({initial.kind.name}): {count:,} weights taken"
    line += f"; new: {_listed(sorted(new))}" if new else ""
    line += f"; left: {_listed(left)}" if left else ""
    parts.notes.append(line)
    return new


def _listed(names: list[str], most: int = 6) -> str:
    """Return names separated by commas, at most ``most`` of them."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
