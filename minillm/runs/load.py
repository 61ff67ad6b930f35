"""Opening a run of any kind, which its configuration names; or a file of another program."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from minillm.errors import InputError
from minillm.formats.gguf import read_weights
from minillm.quantised import Quantised, QuantisedLora
from minillm.runs.config import read_config
from minillm.runs.folder import RunFolder
from minillm.runs.importing import is_foreign, read_foreign
from minillm.runs.kind import Data, Kind, RunConfig, Vocabularies, check_fingerprint
from minillm.runs.lora import has_lora, merged, scale_of
from minillm.runs.run import Run

Shape = tuple[int, ...]


def load(path: str | Path) -> Run:
    """Open the run in a folder, of any kind.

    ``path`` may also be a model of another program, such as a GGUF file, which is read in place.

    >>> run = minillm.load("runs/first")  # doctest: +SKIP
    >>> "".join(run.write("The ", length=200, temperature=0.8, seed=1))  # doctest: +SKIP

    InputError names a file that is missing, incomplete or damaged, or a weight that is not finite.
    """
    if is_foreign(path):
        return read_foreign(path)
    folder = RunFolder(path)
    stored = read_config(folder)
    vocabularies = open_vocabularies(folder, stored)
    if folder.model_path.suffix == ".gguf":
        weights = read_weights(folder.model_path, stored.config)
    else:
        weights = folder.load_model()
    if has_lora(stored.settings):
        weights = _with_baseline(folder, stored, weights)
    model = _build(folder, stored, vocabularies, weights)
    chat = folder.chat_template()
    return stored.kind.run(
        stored, model, vocabularies, folder.path, folder.model_path, chat, folder
    )


def open_vocabularies(folder: RunFolder, stored: RunConfig) -> Vocabularies:
    """The vocabularies of a run by attribute.

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
        fits = expected in (None, tokens) or (stored.kind.padded and expected > tokens)
        if not fits:
            raise InputError(
                f"{folder.path}: the model knows {expected} tokens, but {file} has {tokens}"
            )
    return vocabularies


def _build(
    folder: RunFolder,
    stored: RunConfig,
    vocabularies: Vocabularies,
    weights: Mapping[str, NDArray],
) -> Any:
    """The model.  InputError if config and weights do not agree, or are damaged."""
    model = stored.kind.class_of(stored.config)
    try:
        return stored.kind.build(stored.config, vocabularies, weights, model)
    except (KeyError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        raise InputError(
            f"{folder.path}: config.json and {folder.model_path.name} do not fit, or are damaged: "
            f"{error}"
        ) from None


def check_resumable(folder: RunFolder, stored: RunConfig) -> None:
    """InputError where the sizes of a run to resume differ from its checkpoint.

    The check allocates no arrays, because a damaged size may be huge.
    """
    model = stored.kind.class_of(stored.config)
    if not hasattr(model, "shapes"):
        return
    shapes = folder.resume_shapes()
    for name, expected in model.shapes(stored.config).items():
        found = shapes.get(f"params/{name}")
        if found != expected and not (found is None and has_lora(stored.settings)):
            raise InputError(
                f"{folder.path}: config.json and {folder.resume_path.name} do not fit: {name}: "
                f"expected shape {expected}, found {found or 'no tensor'}"
            )


# --- weights of another run ------------------------------------------------------------------


def open_initial(data: Data) -> Run | None:
    """The run of ``--init``, if there is one."""
    return load(data["init"]) if data.get("init") else None


def weights_from(
    initial: Run, kind: Kind, data: Data, shapes: Mapping[str, Shape], constant: bool = False
) -> dict[str, NDArray]:
    """The weights that a run of this kind takes from another one, by their new names.

    ``shapes`` has all weights of the new run.  Some may not be taken; for a shorter
    context, only the first positions are.  They may be quantised if they are ``constant``.
    InputError names a weight that does not fit.
    """
    taken = {}
    for theirs, ours in kind.names_from(initial, data).items():
        if ours not in shapes:
            continue
        array, shape = initial.model.params[theirs], shapes[ours]
        if isinstance(array, QuantisedLora):
            raise InputError(
                f"{initial.path}: {theirs}: expected a run without additions to quantised "
                "weights: first merge them, with minillm merge"
            )
        if isinstance(array, Quantised) and not constant:
            raise InputError(
                f"{initial.path}: its weights are quantised, and cannot be trained: train "
                "additions to them, with lora_rank, or make a run of floats, with minillm "
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


def _with_baseline(
    folder: RunFolder, stored: RunConfig, weights: dict[str, NDArray]
) -> dict[str, Any]:
    """The weights of the baseline with the stored updates."""
    for name in ("init", "init_sha256"):
        if not stored.data.get(name):
            raise InputError(f"{folder.path / 'config.json'}: data: {name!r} is missing")
    try:
        base = load(init := stored.data["init"])
        sha256 = base.fingerprint()
        check_fingerprint(stored.data, sha256, init, "its weights have", key="init_sha256")
    except InputError as error:
        raise InputError(f"{folder.path}: its weights are additions to others: {error}") from None
    shapes = stored.kind.class_of(stored.config).shapes(stored.config)
    taken = weights_from(base, stored.kind, stored.data, shapes, constant=True)
    return merged(taken, weights, scale_of(stored.settings), folder.model_path)
