"""Models of other programs in the place of a run: each is read where it is.

A command or ``minillm.load`` that receives a GGUF file, a folder of Hugging Face's transformers, an
ARPA file or word vectors reads it in place; ``minillm import`` makes a run of it.
"""

from pathlib import Path
from typing import Any

from minillm.data.compressed import decompressed
from minillm.data.files import STANDARD_INPUT, read_json, reading
from minillm.data.registry import absolute
from minillm.decoding import Sampling
from minillm.errors import InputError
from minillm.formats.format import Contents, Format, formats
from minillm.option import make, types_of
from minillm.runs.kind import Data, Kind, RunConfig, kind_of, kinds
from minillm.runs.run import Run


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
