"""``--init``: a run that begins with the weights of another one.

Its tokenizer comes along, for the embeddings belong to its ids, and so do its sizes.  What a kind
takes from runs of which kinds is said by three of its methods: ``begin_from``, ``names_from`` and
``fresh``, see :class:`minillm.runs.kind.Kind`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from minillm.data.files import reading
from minillm.errors import InputError
from minillm.runs.folder import RunFolder
from minillm.runs.run import OF_THE_DATA, load
from minillm.runs.settings import LENGTHS, types_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from minillm.runs.kind import Kind, Parts
    from minillm.runs.run import Run

ONLY_WITH_INIT = (
    *("freeze", "layer_decay", "unfreeze", "helper_loss"),
    *("lora_rank", "lora_alpha", "lora_targets", "replay"),
)

_opened: dict[str, "Run"] = {}  # the one that is begun with, from its first use until it is taken


def initial_run(data: Mapping[str, Any]) -> "Run | None":
    """The run that one with these data begins with, if there is one."""
    path = data.get("init")
    if not path:
        return None
    if path not in _opened:
        _opened.clear()
        _opened[path] = load(path)
    return _opened[path]


@contextmanager
def forgotten() -> Iterator[None]:
    """What was opened is not kept for longer than this context."""
    _opened.clear()
    try:
        yield
    finally:
        _opened.clear()


def begun(kind: "Kind", given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and beside it what a run with ``--init`` has in place of the defaults.

    InputError for a run that this kind cannot begin with, or where another tokenizer is asked for.
    """
    from minillm.data.registry import absolute

    if not given.get("init"):
        for name in ONLY_WITH_INIT:
            if given.get(name):
                raise InputError(f"--{name.replace('_', '-')}: it goes with --init DIR")
        return dict(given)
    for name in ("lora_alpha", "lora_targets"):
        if given.get(name) and not given.get("lora_rank"):
            raise InputError(f"--{name.replace('_', '-')}: it goes with --lora-rank R")
    run = initial_run({"init": absolute(given["init"])})
    assert run is not None
    defaults = kind.begin_from(run, given)
    _check_tokenizer(kind, run, given)
    if any(given.get(name) is not None for name in LENGTHS):
        defaults = {name: value for name, value in defaults.items() if name not in LENGTHS}
    return {**defaults, **given}


def sizes_of(run: "Run", settings: type) -> dict[str, Any]:
    """The settings that are sizes of the run's model, not rates; and the unit of its text."""
    config, names = run.model.config, types_of(settings).keys() - OF_THE_DATA
    sizes = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    for name in ("unit", "pretokenised"):
        sizes[name] = getattr(run.settings, name, None)
    return {
        name: value
        for name, value in sizes.items()
        if name in names and value is not None and not isinstance(value, float)
    }


def _check_tokenizer(kind: "Kind", run: "Run", given: Mapping[str, Any]) -> None:
    """InputError for options that ask for another tokenizer than the run's."""
    from minillm.text import load_tokenizer

    options = kind.tokenizer_options(run)
    own = {name: getattr(run.settings, name, None) for name in options}
    tokenizer, comes = getattr(run, "tokenizer", None), "its tokenizers come along"
    if tokenizer is not None:
        comes = f"its tokenizer comes along ({len(tokenizer):,} tokens, {tokenizer.unit})"
        own["unit"] = tokenizer.unit
    for name in options:
        found = given.get(name)
        if name == "tokenizer" and found and tokenizer is not None:
            other = load_tokenizer(found)
            if other.to_dict() == tokenizer.to_dict():
                continue
            found = f"another ({len(other):,} tokens, {other.unit})"
        if found not in (None, False, own[name]):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: with --init {run.path} {comes}; found {found}")


def take_weights(kind: "Kind", parts: "Parts", data: Mapping[str, Any]) -> tuple[set[str], str]:
    """Copies the weights of ``--init`` into a new model.

    Returns the names of those that are new, and a line on which were taken, are new, were left.
    InputError names a weight that does not fit.
    """
    run, params = initial_run(data), parts.model.params
    assert run is not None
    names = kind.names_from(run, data)
    taken = copy_weights(kind, run, data, params)
    new = params.keys() - taken
    left = [theirs for theirs in run.model.params if names.get(theirs) not in taken]
    count = sum(params[name].size for name in taken)
    line = f"from {run.path} ({run.kind.name}): {count:,} weights taken"
    line += f"; new: {listed(sorted(new))}" if new else ""
    line += f"; left: {listed(left)}" if left else ""
    _opened.clear()
    return new, line


def copy_weights(
    kind: "Kind", run: "Run", data: Mapping[str, Any], params: "Mapping[str, NDArray]"
) -> set[str]:
    """Copies a run's weights into those of a model of this kind; returns the names of these."""
    names, taken = kind.names_from(run, data), set()
    for theirs, array in run.model.params.items():
        ours = names.get(theirs)
        if ours is not None and ours in params:
            _copy(f"{run.path}: {theirs}", array, ours, params[ours])
            taken.add(ours)
    return taken


def _copy(place: str, array: "NDArray", name: str, into: "NDArray") -> None:
    """A weight into one of the same shape; a shorter context has the first of the positions."""
    rows = into.shape[0] if name.endswith("positions.E") else array.shape[0]
    if array[:rows].shape != into.shape:
        raise InputError(f"{place}: expected shape {into.shape}, found {array.shape}")
    into[...] = array[:rows]


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names, of many the first ones."""
    every = list(names)
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + rest


def fingerprint_of(folder: RunFolder) -> str:
    """A digest of a run's weights, as they are stored."""
    folder.settle()
    with reading(folder.model_path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
