"""What a run with ``--init`` trains and stores: all weights, those of the upper layers, or LoRA's.

A run with LoRA has nothing but the additions, and weights that its model has and the one that it
began with has not.  Beside them stand the folder of that one, its baseline, and the fingerprint of
the baseline's weights.  Opened, the additions are merged; several such runs have one baseline.
"""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.folder import RunFolder
from minillm.runs.initial import copy_weights, fingerprint_of, take_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.runs.kind import Job, Kind, Parts, Shapes
    from minillm.runs.run import Run
    from minillm.training.optimisers import Arrays, Optimiser
    from minillm.training.trained import Trained

ENCODER = ("encoder.", "source.")  # what begins so belongs to the encoder of a larger model


@dataclass(frozen=True)
class Training:
    """What the training loop is handed: the arrays that are stored, and what changes them."""

    params: "Arrays"
    optimiser: Any
    trained: "Trained | None" = None


def trained_part(
    kind: "Kind",
    job: "Job",
    parts: "Parts",
    new_optimiser: "Callable[[Arrays], Optimiser]",
    rng: "np.random.Generator",
) -> Training:
    """Takes the weights of ``--init``, and chooses what of the model is trained.

    ``parts`` get lines that tell of it.
    """
    from minillm.training.lora import LoRA, Merging, new_additions
    from minillm.training.trained import Trained

    settings, model = job.settings, parts.model
    if not job.data.get("init"):
        return Training(model.params, new_optimiser(model.params))
    new: set[str] = set()
    if job.stored is None or settings.lora_rank:
        check_baseline(job.data, settings)
        new, line = take_weights(kind, parts, job.data)
        parts.notes.append(line)
    trained = {name: model.params[name] for name in unfrozen(model.params, settings.freeze)}
    lora, whole = None, sum(array.size for array in model.params.values())
    if settings.lora_rank:
        targets = lora_targets(trained, settings, new)
        additions = new_additions(model.params, targets, settings.lora_rank, rng)
        lora = LoRA(model.params, additions, scale_of(settings))
        model.params.update(lora.beside)
        trained = additions | {name: model.params[name] for name in sorted(new)}
    for name in getattr(model, "unused", ()):
        trained.pop(name, None)
    optimiser: Any = new_optimiser(trained)
    optimiser = Merging(optimiser, lora) if lora else optimiser
    count = sum(array.size for array in trained.values())
    if count != whole:
        parts.notes.append(f"trained are {count:,} of {whole:,} weights, {count / whole:.2%}")
    stored = trained if lora else model.params
    return Training(stored, optimiser, Trained(trained, lora))


def unfrozen(names: Mapping[str, Any], freeze: str | None) -> list[str]:
    """The weights that ``--freeze`` leaves.  InputError where it is nonsense, or leaves none."""
    from minillm.training.fine_tuning import depths

    depth = depths(names)
    top = max(depth.values())
    if freeze is None:
        return list(names)
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


def lora_targets(weights: "Arrays", settings: Any, new: set[str]) -> list[str]:
    """The weights that get an addition: matrices, by default those of all layers."""
    from minillm.training.fine_tuning import depths

    depth = depths(weights)
    top = max(depth.values())
    matrices = [name for name, W in weights.items() if W.ndim == 2 and name not in new]
    if not settings.lora_targets:
        targets = [name for name in matrices if 0 < depth[name] < top]
    else:
        targets = [name for name in matrices if matches(name, settings.lora_targets)]
        for pattern in settings.lora_targets:
            if not any(matches(name, [pattern]) for name in targets):
                raise InputError(
                    f"--lora-targets: expected the end of a matrix's name, such as "
                    f"{matrices[-1].rpartition('.')[2]}; found {pattern[:60]!r}"
                )
    for name in targets:
        if settings.lora_rank > min(weights[name].shape):
            raise InputError(
                f"--lora-rank: expected at most {min(weights[name].shape)}, the smaller side of "
                f"{name}, found {settings.lora_rank}"
            )
    return targets


def matches(name: str, patterns: Any) -> bool:
    """Whether the name is one of these, or ends with a dot and one of these; * is anything."""
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*.{pattern}")
        for pattern in patterns
    )


def scale_of(settings: Any) -> float:
    """Alpha / rank."""
    return (settings.lora_alpha or 2 * settings.lora_rank) / settings.lora_rank


# --- a run whose weights are additions to those of another -----------------------------------


def check_baseline(data: dict[str, Any], settings: Any) -> None:
    """Stores the fingerprint of a baseline in ``data``; InputError if it had another one before."""
    if not settings.lora_rank:
        return
    path = data["init"]
    found = fingerprint_of(RunFolder(path))
    if data.setdefault("init_sha256", found) != found:
        raise InputError(f"{path}: its weights are not those that the additions were trained for")


def baseline_of(folder: RunFolder, config: dict[str, Any]) -> "Run | None":
    """The run whose weights the stored ones are additions to, if they are; it is unchanged."""
    from minillm.runs.run import load

    settings, data = config["training"], config["data"]
    if not getattr(settings, "lora_rank", None):
        return None
    for name in ("init", "init_sha256"):
        if not data.get(name):
            raise InputError(f"{folder.path / 'config.json'}: data: {name!r} is missing")
    try:
        check_baseline(data, settings)
        return load(data["init"])
    except InputError as error:
        raise InputError(f"{folder.path}: its weights are additions to others: {error}") from None


def all_shapes(stored: "Shapes", base: "Run | None") -> "Shapes":
    """Of the weights that are stored, and of the baseline's."""
    params = base.model.params if base else {}
    return {**stored, **{f"baseline {name}": array.shape for name, array in params.items()}}


def load_merged(
    kind: "Kind",
    folder: RunFolder,
    config: dict[str, Any],
    base: "Run",
    model: Any,
    allow_nan: bool,
) -> None:
    """The baseline's weights with the stored additions, into the model's."""
    from minillm.training.lora import LoRA

    taken = copy_weights(kind, base, config["data"], model.params)
    stored = {name: model.params[name] for name in model.params if name not in taken}
    additions = empty_additions(folder, model.params, stored)
    folder.load_model(additions | stored, allow_nan)
    LoRA(model.params, additions, scale_of(config["training"]))


def additions_of(run: "Run") -> "dict[str, NDArray]":
    """The additions that are stored in a run's folder.  InputError if it has weights instead."""
    import numpy as np

    if not getattr(run.settings, "lora_rank", None):
        raise InputError(f"{run.path}: expected a run with --lora-rank, found one with all weights")
    shapes, params = run.folder.model_shapes(), run.model.params
    others = {name: np.empty_like(params[name]) for name in shapes if name in params}
    additions = empty_additions(run.folder, params, others)
    run.folder.load_model(additions | others)
    return additions


def export_additions(run: "Run", file: str | Path, binary: bool = False) -> None:
    """Writes the additions as PEFT does; of a classifier those of its encoder, without the rest."""
    from minillm.formats.peft import write_adapter
    from minillm.models.bert import BERT
    from minillm.models.fine_tuned import PREFIX, encoder_of
    from minillm.models.gpt import GPT

    if binary:
        raise InputError("--binary: only word vectors have two formats")
    additions, model, whole = additions_of(run), run.model, True
    if hasattr(model.config, "encoder"):
        additions = {name.removeprefix(PREFIX): array for name, array in additions.items()}
        model, whole = encoder_of(model), False
    if not isinstance(model, GPT | BERT):
        raise InputError(f"{run.path}: expected additions to a gpt or a bert")
    scale = scale_of(run.settings)
    write_adapter(file, model, additions, scale, run.data["init"], whole)


def import_additions(file: str, baseline: str, folder: RunFolder) -> str:
    """Makes a run of additions in PEFT's format and a run that they are for; a line about it."""
    from minillm.data.registry import absolute
    from minillm.formats.peft import read_adapter
    from minillm.runs.run import load

    base = load(baseline)
    if base.kind.name not in ("gpt", "bert"):
        raise InputError(f"--init: expected a run of gpt or bert, found one of {base.kind.name}")
    additions, rank, alpha = read_adapter(file, base.model)
    config = base.folder.load_json("config.json")
    own = {"lora_rank": rank, "lora_alpha": alpha, "lora_targets": []}
    config["training"] = {**config["training"], **own}
    config["data"] = {**config["data"], "init": absolute(baseline), "imported": absolute(file)}
    config["data"]["init_sha256"] = fingerprint_of(base.folder)
    folder.begin()
    for name, _ in base.kind.vocabularies.values():
        folder.save_json(name, base.folder.load_json(name))
    folder.save_model(additions, {})
    folder.save_json("config.json", config)
    weights = sum(array.size for array in additions.values())
    return f"{weights:,} weights of additions to those of {baseline}"


def empty_additions(folder: RunFolder, params: "Arrays", others: "Arrays") -> "dict[str, NDArray]":
    """Room for the additions in a run's folder.  InputError for one that fits no weight."""
    import numpy as np

    shapes = folder.model_shapes()
    additions = {}
    for name, shape in shapes.items():
        if name in others:
            continue
        weight, _, side = name.rpartition(".")
        W = params.get(weight)
        rank = shapes.get(f"{weight}.A", (0, 0))[-1]
        expected = {"A": (W.shape[0], rank), "B": (rank, W.shape[-1])} if W is not None else {}
        other = f"{weight}.{'B' if side == 'A' else 'A'}"
        if shape != expected.get(side) or W is None or W.ndim != 2 or other not in shapes:
            raise InputError(
                f"{folder.model_path}: {name[:60]}: expected additions A (I, r) and B (r, O) to a "
                f"weight (I, O) of the model, found shape {shape}"
            )
        additions[name] = np.empty(shape, W.dtype)
    return additions
