"""Models of other programs in the place of a run: they are imported when they are first used.

A command or ``minillm.load`` that receives a GGUF file, a folder of Hugging Face's transformers, an
ARPA file or word vectors makes a run of it in a cache, and uses that run the next time:

    MINILLM_CACHE                              if it is set, or
    XDG_CACHE_HOME/minillm                     by default ~/.cache/minillm, or
    %LOCALAPPDATA%/minillm                     on Windows
        SmolLM2.gguf-1a2b3c4d/                 a run: the source's name, and a digest of its path
            imported.json                      the sizes and times of the source's files

``imported.json`` is written last.  If it is missing or differs from the source, which may have
changed, the source is imported again.  ``minillm import`` makes a run in any other folder.
"""

import hashlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from minillm import __version__
from minillm.data.compressed import decompressed
from minillm.data.files import STANDARD_INPUT, naming, read_json, reading, write_file
from minillm.errors import InputError
from minillm.formats.format import Format, formats
from minillm.runs.folder import FORMAT_VERSION, RunFolder
from minillm.runs.kind import kinds

MARK = "imported.json"
WAIT = 3600.0  # seconds for another process that imports the same source
SUFFIXES = (".json", ".safetensors", ".txt", ".jinja")  # of the files in a folder that are read


def run_folder(path: str | Path) -> RunFolder:
    """The folder of a run or, for a model of another program, of its import in the cache.

    InputError for a file that is no model.
    """
    path = Path(path) if str(path) else path
    if not _is_foreign(path):
        return RunFolder(path)
    found = format_of(path)
    if found.updates:
        raise InputError(
            f"{path}: expected a run, found LoRA's updates: import them with minillm import {path} "
            "--init RUN --out DIR, where RUN is the model that they update"
        )
    source = Path(os.path.realpath(path))
    digest = hashlib.sha256(str(source).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    folder, state = RunFolder(cache_folder() / f"{source.name}-{digest}"), _state(source)
    if _is_import(folder, state):
        return folder
    with folder.held(WAIT):
        if not _is_import(folder, state):  # another process may just have made it
            import_with(found, str(path), folder)
            with naming(folder.path / MARK):
                write_file(folder.path / MARK, json.dumps(state).encode())
            print(f"minillm: imported {path} into {folder.path}, for later uses", file=sys.stderr)
    return folder


def cache_folder() -> Path:
    """The folder of all imports; see the module."""
    if named := os.environ.get("MINILLM_CACHE"):
        return Path(named)
    default = os.environ.get("LOCALAPPDATA") if os.name == "nt" else None
    base = os.environ.get("XDG_CACHE_HOME") or default
    try:
        return Path(base or Path.home() / ".cache") / "minillm"
    except RuntimeError:
        raise InputError("MINILLM_CACHE: expected a folder, because there is no home") from None


def _is_foreign(path: str | Path) -> bool:
    """Whether a path is a file, or a folder that another program wrote."""
    folder = Path(path)
    if not str(path) or not folder.is_dir():
        return folder.is_file()
    config = folder / "config.json"
    values = read_json(config) if config.is_file() else {}
    if "kind" in values:
        return False
    return "model_type" in values or any(one.recognises(folder, b"") for one in formats())


def _state(source: Path) -> dict[str, object]:
    """The sizes and times of the files of a source, and the version that imports them."""
    paths = [source]
    if source.is_dir():
        inside = [*source.glob("*"), *source.glob("[!.]*/*")]
        paths = sorted(path for path in inside if path.suffix in SUFFIXES and path.is_file())
    files = {}
    for path in paths:
        found = path.stat()
        files[str(path)] = [found.st_size, found.st_mtime_ns]
    return {"version": [__version__, FORMAT_VERSION], "files": files}


def _is_import(folder: RunFolder, state: dict[str, object]) -> bool:
    """Whether the folder has a complete import of a source in this state."""
    with suppress(InputError):
        return read_json(folder.path / MARK) == state and folder.model_path.exists()
    return False


# --- the format and the kind of a model of another program ------------------------------------


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


def import_with(reader: Format, file: str, folder: RunFolder) -> str:
    """Make a run of a file of another program; return a line about it."""
    contents = reader.read(file)
    kind = next(kind for kind in importers(reader) if kind.model is type(contents.model))
    return kind.import_model(contents, file, folder)


def importers(reader: Format) -> list[Any]:
    """The kinds of the models in a format."""
    able = [kind for kind in kinds().values() if hasattr(kind, "import_model")]
    return [kind for kind in able if kind.model in reader.models]
