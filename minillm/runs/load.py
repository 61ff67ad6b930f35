"""Opening a run of any kind, which its configuration names; or a file of another program.

Models of other programs, such as a GGUF file, a folder of Hugging Face's transformers, an ARPA file
or word vectors, are read in place; ``minillm import`` makes a run of one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from minillm.data.compressed import decompressed
from minillm.data.files import STANDARD_INPUT, read_json, reading
from minillm.data.registry import absolute
from minillm.decoding import Sampling
from minillm.errors import InputError
from minillm.formats.format import Contents, Format, formats
from minillm.formats.gguf import read_weights
from minillm.option import make, types_of
from minillm.quantised import Quantised, QuantisedLora
from minillm.runs.config import read_config
from minillm.runs.folder import RunFolder
from minillm.runs.kind import (
    Data,
    Kind,
    RunConfig,
    Vocabularies,
    check_fingerprint,
    kind_of,
    kinds,
)
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


# --- files of other programs ------------------------------------------------------------------


def read_foreign(path: str | Path) -> Run:
    """The run of a file or folder of another program.  InputError for a file that is no model."""
    found = format_of(path)
    if found.updates:
        raise InputError(
            f"{path}: expected a run, found LoRA's updates: import them with minillm import {path} "
            "--init RUN --out DIR, where RUN is the model that they update"
        )
    contents = found.read(str(path))
    kind = kind_of(contents.model)
    assert kind is not None
    assert kind.imported is not None
    return kind.imported(kind, contents, str(path))


def run_of(
    kind: Kind,
    contents: Contents,
    file: str,
    settings: Any = None,
    info: Data | None = None,
    unit: str = "",
) -> Run:
    """A run of the contents of a file, with the kind's settings and what is known of its data."""
    model, tokenizer, chat = contents.model, contents.tokenizer, contents.chat
    if chat is not None:
        make(Sampling, chat.sampling, f"{file}: its values for sampling: ")
    settings = kind.settings() if settings is None else settings
    data = {"imported": absolute(file), **(info or {})}
    if "files" in types_of(kind.settings):
        data["files"] = []
    config = RunConfig(kind, model.config, settings, data, unit)
    path, weights = Path(file), contents.weights or Path(file)
    return kind.run(config, model, {"tokenizer": tokenizer}, path, weights, chat)


def is_foreign(path: str | Path) -> bool:
    """Whether a path is a file, or a folder that another program wrote."""
    folder = Path(path)
    if not str(path) or not folder.is_dir():
        return folder.is_file()
    config = folder / "config.json"
    values = read_json(config) if config.is_file() else {}
    if "kind" in values:
        return False
    return "model_type" in values or any(one.recognises(folder, b"") for one in formats())


def format_of(path: str | Path) -> Format:
    """The format of a file or folder of another program; InputError if none reads it."""
    if str(path) == STANDARD_INPUT:
        raise InputError("standard input: expected the name of a file: it is read twice")
    path, head = Path(path), b""
    if not path.is_dir():
        with reading(path) as opened, decompressed(opened, str(path)) as file:
            head = file.read(64).lstrip()
    for one in formats():
        if one.recognises(path, head):
            return one
    known = [one.signature for one in formats() if not one.updates]
    raise InputError(
        f"{path}: expected a run, which is a folder, or a model of another program: "
        f"{', '.join(known[:-1])}, or {known[-1]}; found {head[:40].decode('utf-8', 'replace')!r}"
    )


def importers(reader: Format) -> list[Kind]:
    """The kinds of the models in a format."""
    return [kind for kind in kinds().values() if kind.imported and kind.model in reader.models]
