"""Opening a run of any kind, which its configuration names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.formats.gguf_llama import read_weights
from minillm.ops import Quantised
from minillm.runs.folder import RunFolder
from minillm.runs.importing import run_folder
from minillm.runs.kind import Data, Kind, Stored
from minillm.runs.run import Run
from minillm.runs.stored import check_fingerprint, read_config
from minillm.training.lora import QuantisedLowRank, product

Arrays = Mapping[str, NDArray]
Shape = tuple[int, ...]


def load(path: str | Path, allow_nan: bool = False) -> Run:
    """Open the run in a folder, of any kind.

    ``path`` may also be a model of another program, such as a GGUF file: it is imported into a
    cache when it is first used (:mod:`minillm.runs.importing`).

    >>> run = minillm.load("runs/first")  # doctest: +SKIP
    >>> "".join(run.write("The ", length=200, temperature=0.8, seed=1))  # doctest: +SKIP

    InputError names a file that is missing, incomplete or damaged.  Weights that are not finite
    are opened only with ``allow_nan``.
    """
    folder = run_folder(path)
    stored = read_config(folder)
    vocabularies = open_vocabularies(folder, stored)
    if folder.model_path.suffix == ".gguf":
        weights = read_weights(folder.model_path, stored.config, allow_nan)
    else:
        weights = folder.load_model(allow_nan)
    beside: dict[str, NDArray] = {}
    if has_additions(stored.settings):
        weights, beside = _with_baseline(folder, stored, weights)
    model = _build(folder, stored, vocabularies, weights)
    for name in [name for name in beside if name.endswith(".A")]:
        W = name.removesuffix(".A")
        model.params[W] = QuantisedLowRank(model.params[W], beside[name], beside[f"{W}.B"])
    return Run(stored.kind, folder, model, vocabularies, stored.settings, stored.data)


def open_vocabularies(folder: RunFolder, stored: Stored) -> dict[str, Any]:
    """Return the vocabularies of a run by attribute.

    InputError, with the file, where one is damaged, or of another size than the model.
    """
    vocabularies = {}
    for name, (file, size) in stored.kind.vocabularies.items():
        values = folder.load_json(file)
        try:
            vocabularies[name] = stored.kind.open_vocabulary(values)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{folder.path / file}: it is damaged: {error}") from None
        expected, tokens = getattr(stored.config, size, None), len(vocabularies[name])
        if expected is not None and expected != tokens:
            raise InputError(
                f"{folder.path}: the model knows {expected} tokens, but {file} has {tokens}"
            )
    return vocabularies


def _build(
    folder: RunFolder,
    stored: Stored,
    vocabularies: Mapping[str, Any],
    weights: Mapping[str, NDArray],
) -> Any:
    """Return the model.  InputError if config and weights do not agree, or are damaged."""
    try:
        return stored.kind.build(stored.config, vocabularies, weights)
    except (KeyError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        raise InputError(
            f"{folder.path}: config.json and {folder.model_path.name} do not fit, or are damaged: "
            f"{error}"
        ) from None


def check_resumable(folder: RunFolder, stored: Stored) -> None:
    """InputError where the sizes of a run to resume are not those of its checkpoint.

    The check allocates no arrays, because a damaged size may be huge.
    """
    model = stored.kind.model
    if not hasattr(model, "shapes"):
        return
    shapes = folder.resume_shapes()
    for name, expected in model.shapes(stored.config).items():
        found = shapes.get(f"params/{name}")
        if found != expected and not (found is None and has_additions(stored.settings)):
            raise InputError(
                f"{folder.path}: config.json and {folder.resume_path.name} do not fit: {name}: "
                f"expected shape {expected}, found {found or 'no tensor'}"
            )


# --- weights of another run ------------------------------------------------------------------


def open_initial(data: Data) -> Run | None:
    """Return the run of ``--init``, if there is one."""
    return load(data["init"]) if data.get("init") else None


def weights_from(
    initial: Run, kind: Kind, data: Data, shapes: Mapping[str, Shape], constant: bool = False
) -> dict[str, NDArray]:
    """Return the weights that a run of this kind takes from another one, by their new names.

    ``shapes`` are those of all weights of the new run.  Some may not be taken; for a shorter
    context, only the first positions are.  They may be quantised if they are ``constant``.
    InputError names a weight that does not fit.
    """
    taken = {}
    tuned = [n for n, w in initial.model.params.items() if isinstance(w, QuantisedLowRank)]
    if tuned:
        raise InputError(
            f"{initial.path}: {tuned[0]}: expected a run without additions to quantised weights: "
            "first merge them, with minillm merge"
        )
    for theirs, ours in kind.names_from(initial, data).items():
        if ours not in shapes:
            continue
        array, shape = initial.model.params[theirs], shapes[ours]
        if isinstance(array, Quantised) and not constant:
            raise InputError(
                f"{initial.path}: its weights are quantised, and cannot be trained: train "
                "additions to them, with --lora-rank, or make a run of floats, with minillm "
                "quantise --to f32"
            )
        if ours.endswith("positions.E"):
            array = array[: shape[0]]
        if array.shape != shape:
            raise InputError(
                f"{initial.path}: {theirs}: expected shape {shape}, found {array.shape}"
            )
        taken[ours] = array
    return taken


# --- a run whose stored weights are LoRA's updates to those of another run, its baseline ----------
#
#     W' = W + s A B        W of the baseline, A and B stored as W.A and W.B
#
# A quantised W stays as it is, and the model has s A and B beside it (minillm.training.lora).
#
# Beside the updates stand the weights that the model has and the baseline has not.  The
# configuration has the folder of the baseline and the fingerprint of its weights.  When the run is
# opened, the updates are merged into the weights; several such runs share one baseline.


def has_additions(settings: object) -> bool:
    """Return whether a run with these settings stores updates in place of weights."""
    return bool(getattr(settings, "lora_rank", None))


def scale_of(settings: Any) -> float:
    """Return s, alpha / rank."""
    return (settings.lora_alpha or 2 * settings.lora_rank) / settings.lora_rank


def check_baseline(data: Data) -> None:
    """Store the baseline's fingerprint in ``data``; InputError if it had another one before."""
    sha256 = run_folder(data["init"]).fingerprint()
    check_fingerprint(data, sha256, data["init"], "its weights have", key="init_sha256")


def split(stored: Arrays, weights: Arrays, path: Path) -> tuple[dict[str, NDArray], Arrays]:
    """Return the updates to ``weights`` among stored arrays, and all other stored arrays.

    InputError for an update that fits no weight.
    """
    updates = {}
    for name, array in stored.items():
        weight, _, side = name.rpartition(".")
        W = weights.get(weight)
        if W is None or side not in ("A", "B"):
            continue
        rank = stored[f"{weight}.A"].shape[-1] if f"{weight}.A" in stored else 0
        expected = (W.shape[0], rank) if side == "A" else (rank, W.shape[-1])
        other = f"{weight}.{'B' if side == 'A' else 'A'}"
        if W.ndim != 2 or array.shape != expected or other not in stored or array.dtype != W.dtype:
            raise InputError(
                f"{path}: {short(name)}: expected additions A (I, r) and B (r, O) to a weight "
                f"(I, O) of the model, found shape {array.shape}"
            )
        updates[name] = array
    return updates, {name: array for name, array in stored.items() if name not in updates}


def merged(
    weights: Arrays, stored: Arrays, scale: float, path: Path
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Return the baseline's weights with the updates among ``stored``, and all others of these.

    Also s A and B of the weights that are quantised, which have no update.
    """
    updates, others = split(stored, weights, path)
    whole = {**weights, **others}
    beside: dict[str, NDArray] = {}
    for name, A in updates.items():
        if not name.endswith(".A"):
            continue
        W = name.removesuffix(".A")
        scaled, B = A * A.dtype.type(scale), updates[f"{W}.B"]
        if isinstance(weights[W], Quantised):
            beside |= {name: scaled, f"{W}.B": B}
        else:
            whole[W] = np.ascontiguousarray(weights[W] + product(scaled, B))
    return whole, beside


def _with_baseline(
    folder: RunFolder, stored: Stored, weights: dict[str, NDArray]
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Return the weights of the baseline with the stored additions, as :func:`merged`."""
    for name in ("init", "init_sha256"):
        if not stored.data.get(name):
            raise InputError(f"{folder.path / 'config.json'}: data: {name!r} is missing")
    try:
        check_baseline(stored.data)
        base = load(stored.data["init"])
    except InputError as error:
        raise InputError(f"{folder.path}: its weights are additions to others: {error}") from None
    shapes = stored.kind.model.shapes(stored.config)
    taken = weights_from(base, stored.kind, stored.data, shapes, constant=True)
    return merged(taken, weights, scale_of(stored.settings), folder.model_path)
