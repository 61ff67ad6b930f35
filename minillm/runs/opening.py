"""Opening a run of any kind, which its configuration names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from minillm.errors import InputError
from minillm.runs.additions import check_baseline, has_additions, merged, scale_of
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Data, Kind, Stored
from minillm.runs.run import Run
from minillm.runs.stored import read_config

Shape = tuple[int, ...]


def load(path: str | Path, allow_nan: bool = False) -> Run:
    """Open the run in a folder, of any kind.

    >>> run = minillm.load("runs/first")  # doctest: +SKIP
    >>> "".join(run.write("The ", length=200, temperature=0.8, seed=1))  # doctest: +SKIP

    InputError names a file that is missing, incomplete or damaged.  Weights that are not finite
    are opened only with ``allow_nan``.
    """
    folder = RunFolder(path)
    stored = read_config(folder)
    vocabularies = open_vocabularies(folder, stored)
    weights = stored.kind.read_weights(folder, allow_nan)
    if has_additions(stored.settings):
        weights = _with_baseline(folder, stored, weights)
    model = _build(folder, stored, vocabularies, weights)
    return Run(stored.kind, folder, model, vocabularies, stored.settings, stored.data)


def open_vocabularies(folder: RunFolder, stored: Stored) -> dict[str, Any]:
    """Return the vocabularies of a run by attribute.

    InputError if one is damaged, or has another size than the model.
    """
    vocabularies = {}
    for name, (file, size) in stored.kind.vocabularies.items():
        vocabularies[name] = open_vocabulary(stored.kind, folder, file)
        expected, tokens = getattr(stored.config, size, None), len(vocabularies[name])
        if expected is not None and expected != tokens:
            raise InputError(
                f"{folder.path}: the model knows {expected} tokens, but {file} has {tokens}"
            )
    return vocabularies


def open_vocabulary(kind: Kind, folder: RunFolder, file: str) -> Any:
    """Return a vocabulary of a run.  InputError, with its file, if it is damaged."""
    values = folder.load_json(file)
    try:
        return kind.open_vocabulary(values)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{folder.path / file}: it is damaged: {error}") from None


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
            f"{folder.path}: config.json and model.safetensors do not fit, or are damaged: {error}"
        ) from None


def check_resumable(folder: RunFolder, stored: Stored, initial: Run | None) -> None:
    """InputError if the sizes of a run to resume are not those of its checkpoint.

    The check allocates no arrays, because a damaged size may be huge.
    """
    Model, _ = stored.kind.types_of(vars(stored.config))
    if not hasattr(Model, "shapes"):
        return
    expected = Model.shapes(stored.config)
    known = {n.removeprefix("params/"): shape for n, shape in folder.resume_shapes().items()}
    if initial is not None and has_additions(stored.settings):
        taken = weights_from(initial, stored.kind, stored.data, expected)
        known |= {name: array.shape for name, array in taken.items()}
    for name, shape in expected.items():
        if known.get(name) != shape:
            raise InputError(
                f"{folder.path}: config.json and {folder.resume_path.name} do not fit: {name}: "
                f"expected shape {shape}, found {known.get(name, 'no tensor')}"
            )


# --- weights of another run ------------------------------------------------------------------


def open_initial(data: Data) -> Run | None:
    """Return the run of ``--init``, if there is one."""
    return load(data["init"]) if data.get("init") else None


def weights_from(
    initial: Run, kind: Kind, data: Data, shapes: Mapping[str, Shape]
) -> dict[str, NDArray]:
    """Return the weights that a run of this kind takes from another one, by their new names.

    ``shapes`` are those of all weights of the new run.  Some may not be taken; for a shorter
    context, only the first positions are.  InputError names a weight that does not fit.
    """
    taken = {}
    for theirs, ours in kind.names_from(initial, data).items():
        if ours not in shapes:
            continue
        array, shape = initial.model.params[theirs], shapes[ours]
        if ours.endswith("positions.E"):
            array = array[: shape[0]]
        if array.shape != shape:
            raise InputError(
                f"{initial.path}: {theirs}: expected shape {shape}, found {array.shape}"
            )
        taken[ours] = array
    return taken


def _with_baseline(
    folder: RunFolder, stored: Stored, weights: dict[str, NDArray]
) -> dict[str, NDArray]:
    """Return the weights of the baseline with the stored additions."""
    for name in ("init", "init_sha256"):
        if not stored.data.get(name):
            raise InputError(f"{folder.path / 'config.json'}: data: {name!r} is missing")
    try:
        check_baseline(stored.data)
        base = load(stored.data["init"])
    except InputError as error:
        raise InputError(f"{folder.path}: its weights are additions to others: {error}") from None
    Model, _ = stored.kind.types_of(vars(stored.config))
    taken = weights_from(base, stored.kind, stored.data, Model.shapes(stored.config))
    return merged(taken, weights, scale_of(stored.settings), folder.model_path)
