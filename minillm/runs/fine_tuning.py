"""The part of a model that a run trains and stores: all weights, the upper layers, or LoRA's.

A run with LoRA stores only the updates, and any weights that the run of ``--init`` lacks: see
:mod:`minillm.runs.additions`.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minillm.errors import InputError
from minillm.runs.additions import check_baseline, has_additions, scale_of
from minillm.runs.initial import take_weights
from minillm.runs.kind import Job, Kind, Parts
from minillm.training.fine_tuning import depths
from minillm.training.lora import LoRA, Merging, new_additions
from minillm.training.optimisers import Arrays, Optimiser
from minillm.training.trained import Trained

ENCODER = ("encoder.", "source.")  # prefixes of the weights of an encoder


@dataclass(frozen=True)
class TrainedPart:
    """The weights that are trained (None: all), the arrays that are stored, and the optimiser."""

    trained: Trained | None
    stored: Arrays
    optimiser: Optimiser


def trained_part(
    kind: Kind,
    job: Job,
    parts: Parts,
    new_optimiser: Callable[[Arrays], Optimiser],
    rng: np.random.Generator,
) -> TrainedPart:
    """Take the weights of ``--init``, and select the weights to train.

    Lines about both are added to the notes of ``parts``.
    """
    settings, params = job.settings, parts.model.params
    if job.initial is None:
        return TrainedPart(None, params, new_optimiser(params))
    new: set[str] = set()
    if has_additions(settings):
        check_baseline(job.data)
    if job.stored is None or has_additions(settings):
        new = take_weights(kind, job.initial, parts, job.data)
    freeze = getattr(settings, "freeze", None)
    chosen = {name: params[name] for name in unfrozen(params, freeze)}
    for name in getattr(parts.model, "unused", ()):  # no loss depends on them
        chosen.pop(name, None)
    whole = sum(array.size for array in params.values())
    if not has_additions(settings):
        trained = Trained(chosen)
        part = TrainedPart(trained, params, new_optimiser(chosen))
    else:
        targets = lora_targets(chosen, settings, new)
        additions = new_additions(params, targets, settings.lora_rank, rng)
        lora = LoRA(params, additions, scale_of(settings))
        arrays = additions | {name: params[name] for name in sorted(new)}
        params.update(lora.beside)
        trained = Trained(arrays, lora)
        part = TrainedPart(trained, arrays, Merging(new_optimiser(arrays), lora))
    count = sum(array.size for array in trained.params.values())
    if count != whole:
        parts.notes.append(f"trained are {count:,} of {whole:,} weights, {count / whole:.2%}")
    return part


def unfrozen(names: Collection[str], freeze: str | None) -> list[str]:
    """Return the weights that ``--freeze`` leaves to be trained.

    InputError if it is not a number of layers, or leaves none.
    """
    if freeze is None:
        return list(names)
    depth = depths(names)
    top = max(depth.values())
    if freeze == "encoder":
        left = [name for name in names if not name.startswith(ENCODER)]
        if len(left) == len(names):
            raise InputError("--freeze: expected a number: this model has no encoder")
        return left
    if not freeze.isdecimal() or not int(freeze) <= top:
        raise InputError(
            f"--freeze: expected a number from 0 to {top}, or encoder; found {freeze[:60]!r}"
        )
    return [name for name in names if depth[name] >= int(freeze)]


def lora_targets(weights: Arrays, settings: Any, new: Iterable[str]) -> list[str]:
    """Return the names of the matrices to update: those of all layers, or of attention.

    InputError if there are none, or if the rank is larger than a side of one.
    """
    depth = depths(weights)
    top = max(depth.values())
    targets = [
        name
        for name, W in weights.items()
        if W.ndim == 2 and name not in set(new) and 0 < depth[name] < top
    ]
    if settings.lora_targets == "attention":
        targets = [name for name in targets if "attention" in name]
        if not targets:
            raise InputError("--lora-targets: expected all: this model has no attention")
    for name in targets:
        if settings.lora_rank > min(weights[name].shape):
            raise InputError(
                f"--lora-rank: expected at most {min(weights[name].shape)}, the smaller side of "
                f"{name}, found {settings.lora_rank}"
            )
    return targets
