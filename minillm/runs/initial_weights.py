"""``--init``: a run that begins with the weights of another one.

It takes the tokenizer of that run, because the embeddings belong to its ids, and its sizes.  Two
entries of :class:`minillm.runs.kind.Kind` define what a kind takes from other runs: ``begin`` and
``names_from``.

All weights are trained, or the upper layers, or LoRA's updates.  A run with LoRA stores only the
updates, and weights that its model has and the run of ``--init`` has not.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from minillm.errors import InputError, short
from minillm.models.base import Model
from minillm.quantised import Quantised
from minillm.runs.kind import Kind, Training
from minillm.runs.load import weights_from
from minillm.runs.lora import has_lora, scale_of
from minillm.runs.run import Run
from minillm.runs.settings import LENGTHS, TrainingSettings
from minillm.training.layout import Arrays
from minillm.training.lora import LoRA, new_additions
from minillm.training.muon import is_hidden
from minillm.training.optimisers import Optimiser, new_optimiser
from minillm.training.trained import Trained, depths

ONLY_WITH_INIT = ("freeze", "lora_rank", "lora_alpha")
TOKENIZER_OPTIONS = ("tokenizer", "unit", "vocabulary", "minimum_count", "pretokenised")


def with_init_defaults(
    kind: Kind, initial: Run | None, given: Mapping[str, object]
) -> dict[str, object]:
    """The settings, with the defaults of a run that begins with another one.

    InputError for a run that this kind cannot begin with, where another tokenizer is asked for, or
    for several lengths.
    """
    given = with_one_length(kind.settings, given)
    if initial is None:
        _check_without(given, ONLY_WITH_INIT, "init")
        return given
    if not given.get("lora_rank"):
        _check_without(given, ["lora_alpha"], "lora_rank")
    defaults = kind.begin(kind, initial, given)
    _check_tokenizer(initial, given)
    return {**defaults, **given}


def with_one_length(settings: type, given: Mapping[str, object]) -> dict[str, object]:
    """The given settings; a length replaces the default ones.  InputError for several."""
    lengths = [name for name in LENGTHS if given.get(name) is not None]
    if not issubclass(settings, TrainingSettings) or not lengths:
        return dict(given)
    if len(lengths) > 1:
        raise InputError(f"expected one of {', '.join(LENGTHS)}, found {' and '.join(lengths)}")
    return {**given, **dict.fromkeys(LENGTHS, None), lengths[0]: given[lengths[0]]}


def _check_without(given: Mapping[str, object], names: Iterable[str], needed: str) -> None:
    for name in names:
        if given.get(name):
            raise InputError(f"expected {needed} with it, found none", name)


def _check_tokenizer(initial: Run, given: Mapping[str, object]) -> None:
    """InputError for options that ask for another tokenizer than the run's."""
    tokenizer = getattr(initial, "tokenizer", None)
    for name in TOKENIZER_OPTIONS:
        value, known = given.get(name), getattr(initial.settings, name, None)
        if name == "unit" and tokenizer is not None:
            known = tokenizer.unit
        if value not in (None, False, known):
            raise InputError(f"expected the one of init, because it is taken; found {value}", name)


def take_weights(training: Training, constant: bool) -> set[str]:
    """Copy the weights of ``--init`` into a new model, and return the names of all other weights.

    Those that are quantised, which they may be if they are ``constant``, are shared.

    A line about the weights taken, new and left out is added to the notes.  InputError names a
    weight that does not fit.
    """
    kind, initial, params = training.kind, training.initial, training.model.params
    assert initial is not None
    data = training.config().data
    shapes = {name: p.shape for name, p in params.items()}
    taken = weights_from(initial, kind, data, shapes, constant)
    for name, array in taken.items():
        if isinstance(array, Quantised):
            params[name] = array
        else:
            params[name][...] = array
    new = params.keys() - taken.keys()
    names = kind.names_from(initial, data)
    left = [theirs for theirs in initial.model.params if names.get(theirs) not in taken]
    count = sum(array.size for array in taken.values())
    line = f"from {initial.path} ({initial.kind.name}): {count:,} weights taken"
    line += f"; new: {_listed(sorted(new))}" if new else ""
    line += f"; left: {_listed(left)}" if left else ""
    training.notes.append(line)
    return new


def _listed(names: list[str], most: int = 6) -> str:
    """Names separated by commas, at most ``most`` of them."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


# --- the part that is trained ---------------------------------------------------------------------

ENCODER = ("encoder.", "source.")  # begin the names of weights of a larger model's encoder


def choose_trained(training: Training) -> tuple[Trained | None, Arrays, Optimiser]:
    """Take the weights of ``--init``, and choose which of the model's are trained.

    Return the weights that are trained (None: all), the arrays that are stored, and the optimiser.
    The notes get lines on both.
    """
    settings, model, initial = training.settings, training.model, training.initial
    optimiser_of = partial(new_optimiser, settings.optimiser, settings=settings)
    params = model.params
    if initial is None:
        return None, params, optimiser_of(params)
    adds, new = has_lora(settings), set[str]()
    if adds:
        init = training.data["init"]
        training.record(initial.fingerprint(), init, "its weights have", key="init_sha256")
    if adds or training.stored is None:
        new = take_weights(training, constant=adds)
    chosen = {name: params[name] for name in unfrozen(model, getattr(settings, "freeze", None))}
    for name in getattr(model, "unused", ()):  # no loss depends on them
        chosen.pop(name, None)
    whole = sum(array.size for array in params.values())
    if not adds:
        trained, stored, optimiser = Trained(chosen), params, optimiser_of(chosen)
    else:
        targets = lora_targets(model, chosen, settings.lora_rank, new)
        additions = new_additions(params, targets, settings.lora_rank, training.rng)
        lora = LoRA(model, additions, scale_of(settings))
        stored = additions | {name: params[name] for name in sorted(new)}
        trained, optimiser = Trained(stored, lora), optimiser_of(stored)
    trained.mark(model)
    count = sum(array.size for array in trained.params.values())
    if count != whole:
        training.notes.append(f"trained are {count:,} of {whole:,} weights, {count / whole:.2%}")
    return trained, stored, optimiser


def unfrozen(model: Model, freeze: str | None) -> list[str]:
    """The weights that ``--freeze`` leaves.

    InputError where it is no number of layers, or leaves none.
    """
    names = list(model.params)
    if freeze is None:
        return names
    depth = depths(model)
    top = max(depth.values())
    if freeze == "encoder":
        left = [name for name in names if not name.startswith(ENCODER)]
        if len(left) == len(names):
            raise InputError("expected a number: this model has no encoder", "freeze")
        return left
    if not freeze.isdecimal() or len(freeze) > 9 or int(freeze) > top:
        raise InputError(
            f"expected a number from 0 to {top}, or encoder; found {short(freeze)}", "freeze"
        )
    return [name for name in names if depth[name] >= int(freeze)]


def lora_targets(model: Model, weights: Arrays, rank: int, new: set[str]) -> list[str]:
    """The names of the matrices that get an update: of all layers, but no new ones.

    InputError where the rank is larger than a side of one.
    """
    depth = depths(model)
    top = max(depth.values())
    targets = [
        name
        for name, W in weights.items()
        if is_hidden(name, W.shape) and name not in new and 0 < depth[name] < top
    ]
    for name in targets:
        if rank > (side := min(weights[name].shape)):
            expected = f"at most {side}, the smaller side of {name}"
            raise InputError(f"expected {expected}, found {rank}", "lora_rank")
    return targets
