"""The folder of a run: its files, written whole or not at all, and read back.

    config.json          format version, kind of model, sizes, settings, data
    vocabulary.json      token to id (two of them where a model reads one and writes another)
    model.safetensors    the best weights so far
    resume.safetensors   all that resuming needs: weights, optimiser, carried state; and, as JSON
                         in its metadata, random numbers' state, step and data position
    metrics.jsonl        a line every few steps, and one for each validation
    loss.png             the loss curve

Each file is written under a temporary name, synced to the disk, then renamed: whenever the
process is killed, the last good file is there.  Only metrics.jsonl grows in place; a line that
a kill cut short is dropped when it is read.  Nothing is ever pickled.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.training.checkpoints import copy_arrays

FORMAT_VERSION = 1

_FILES = (
    "config.json",  # removed first and written last: a folder with it is complete
    "vocabulary.json",
    "vocabulary.source.json",  # of a model that reads one vocabulary and writes another
    "vocabulary.target.json",
    "model.safetensors",
    "resume.safetensors",
    "metrics.jsonl",
    "loss.png",
    "tokenizer.json",  # of a tokenizer, for other programs
    "vocab.json",
    "merges.txt",
)


class RunFolder:
    """The files of one run.  Reading raises InputError, with the file's name, where one is bad."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.resume_path = self.path / "resume.safetensors"  # where the checkpoint is

    def holds_run(self) -> bool:
        """Whether any file of a run is here."""
        return any((self.path / name).exists() for name in _FILES)

    def clear(self) -> None:
        """Makes the folder, and removes the files of a run that it holds; no other file."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)

    # JSON

    def save_json(self, name: str, values: dict) -> None:
        """Writes ``values`` as the file ``name``, with the format's version."""
        values = {"format_version": FORMAT_VERSION, **values}
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        write_file(self.path / name, text.encode("utf-8", "surrogatepass"))

    def load_json(self, name: str) -> dict:
        """What :meth:`save_json` wrote."""
        path = self.path / name
        try:
            values = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
        except FileNotFoundError:
            if not (self.path / "config.json").exists():
                raise InputError(f"{self.path}: there is no run in it (no config.json)") from None
            raise InputError(f"{path}: the file is missing from the run") from None
        except NotADirectoryError:
            raise InputError(f"{self.path}: expected a folder with a run, found a file") from None
        except ValueError as error:
            raise InputError(f"{path}: expected JSON, but it is damaged: {error}") from None
        if not isinstance(values, dict):
            raise InputError(f"{path}: expected a JSON object, found {type(values).__name__}")
        _check_version(path, values.pop("format_version", None))
        return values

    def save_file(self, name: str, data: bytes) -> None:
        """Writes a file for other programs."""
        write_file(self.path / name, data)

    # Weights

    def save_model(self, params: Mapping[str, np.ndarray], values: dict) -> None:
        """Writes the weights, and ``values`` beside them, as the best so far."""
        _save_tensors(self.path / "model.safetensors", params, values)

    def load_model(self, params: Mapping[str, np.ndarray]) -> dict:
        """Copies the best weights into ``params``, which fix the names and shapes expected."""
        path = self.path / "model.safetensors"
        if not path.exists():
            raise InputError(f"{path}: it does not exist yet: the run's first validation writes it")
        arrays, values = _load_tensors(path)
        copy_arrays(arrays, params, str(path))
        return values

    # All that resuming needs

    def save_resume(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Writes the whole state of the training."""
        _save_tensors(self.resume_path, arrays, values)

    def load_resume(self) -> tuple[dict[str, np.ndarray], dict]:
        """What :meth:`save_resume` wrote."""
        return _load_tensors(self.resume_path)

    # Metrics

    def append_metrics(self, record: dict) -> None:
        """Adds a line to ``metrics.jsonl``."""
        path = self.path / "metrics.jsonl"
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None

    def read_metrics(self) -> list[dict]:
        """The lines of ``metrics.jsonl``, without one that a kill cut short."""
        path = self.path / "metrics.jsonl"
        records = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
                try:
                    records.append(json.loads(line))
                except ValueError:
                    raise InputError(
                        f"{path}, line {len(records) + 1}: expected a JSON object"
                    ) from None
        return records

    def trim_metrics(self, step: int) -> None:
        """Drops the lines after ``step``, from which a run is resumed; makes the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        kept = [json.dumps(r) + "\n" for r in self.read_metrics() if r["step"] <= step]
        write_file(self.path / "metrics.jsonl", "".join(kept).encode())

    def save_picture(self, name: str, png: bytes) -> Path:
        """Writes a picture and returns its path."""
        write_file(self.path / name, png)
        return self.path / name


def _save_tensors(path: Path, arrays: Mapping[str, np.ndarray], values: dict) -> None:
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    values = {"format_version": FORMAT_VERSION, **values}
    # One entry: safetensors writes several in random order, but equal runs should make equal files.
    write_file(path, save(contiguous, {"minillm": json.dumps(values)}))


def _load_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise InputError(f"{path}: the file is missing from the run")
    try:
        with safe_open(path, framework="numpy") as file:
            values = json.loads((file.metadata() or {}).get("minillm", "{}"))
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, ValueError) as error:
        raise InputError(
            f"{path}: expected a safetensors file, but it is damaged: {error}"
        ) from None
    _check_version(path, values.pop("format_version", None))
    return arrays, values


def _check_version(path: Path, version: object) -> None:
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: expected format version {FORMAT_VERSION}, found {version}: "
            "it was written by another version of minillm"
        )
