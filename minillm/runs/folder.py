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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minillm.data.files import bounded_lines, read_all, reading, write_file
from minillm.errors import InputError, short
from minillm.training.checkpoints import copy_arrays

FORMAT_VERSION = 1
LARGEST_JSON = 1 << 28  # bytes

# The numbers of safetensors that NumPy has, too: there is no bfloat16, and no float8.
DTYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")

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
        if not path.exists():
            if self.path.is_file():
                raise InputError(f"{self.path}: expected a folder with a run, found a file")
            if not (self.path / "config.json").exists():
                raise InputError(f"{self.path}: there is no run in it (no config.json)")
            raise InputError(f"{path}: the file is missing from the run")
        with reading(path) as file:
            text = read_all(file, str(path), LARGEST_JSON)
        values = _object(text, str(path))
        _check_version(path, values.pop("format_version", None))
        return values

    def save_file(self, name: str, data: bytes) -> None:
        """Writes a file for other programs."""
        write_file(self.path / name, data)

    # Weights

    def save_model(self, params: Mapping[str, np.ndarray], values: dict) -> None:
        """Writes the weights, and ``values`` beside them, as the best so far."""
        _save_tensors(self.path / "model.safetensors", params, values)

    @property
    def model_path(self) -> Path:
        """Where the weights are.  InputError if there are none yet."""
        path = self.path / "model.safetensors"
        if not path.exists():
            raise InputError(f"{path}: it does not exist yet: the run's first validation writes it")
        return path

    def model_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the best weights, by name, without reading them."""
        return _tensor_shapes(self.model_path)

    def load_model(self, params: Mapping[str, np.ndarray], allow_nan: bool = False) -> dict:
        """Copies the best weights into ``params``, which fix the names and shapes expected.

        InputError for a number that is not finite, unless ``allow_nan``.
        """
        path = self.model_path
        arrays, values = _load_tensors(path)
        copy_arrays(arrays, params, str(path), allow_nan)
        return values

    # All that resuming needs

    def save_resume(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Writes the whole state of the training."""
        _save_tensors(self.resume_path, arrays, values)

    def resume_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the arrays of :meth:`load_resume`, by name, without reading them."""
        return _tensor_shapes(self.resume_path)

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
        """The lines of ``metrics.jsonl``, without one that a kill cut short.

        Each is an object with a "step"; InputError, with the line's number, for any other.
        """
        path = self.path / "metrics.jsonl"
        records: list[dict] = []
        if not path.exists():
            return records
        with reading(path) as file:
            for number, line in enumerate(bounded_lines(file, str(path)), start=1):
                if line.endswith(b"\n"):
                    place = f"{path}, line {number}"
                    records.append(_object(line, place))
                    _check_record(records[-1], place)
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
    with _opened(path) as file:
        values = _object((file.metadata() or {}).get("minillm", "{}"), f"{path}: its metadata")
        _check_version(path, values.pop("format_version", None))
        shapes = _tensor_shapes(path)
        return {name: file.get_tensor(name) for name in shapes}, values


def _tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor.  InputError for one of numbers that NumPy does not have."""
    shapes = {}
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118  (it is no dictionary)
            tensor = file.get_slice(name)
            if tensor.get_dtype() not in DTYPES:
                raise InputError(
                    f"{path}: the tensor {short(name)}: expected one of {', '.join(DTYPES)}, "
                    f"found {tensor.get_dtype()}"
                )
            shapes[name] = tuple(tensor.get_shape())
    return shapes


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file; InputError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise InputError(f"{path}: the file is missing from the run")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        found = " ".join(str(error).split())[:200]  # it quotes the file
        raise InputError(
            f"{path}: expected a safetensors file, but it is damaged: {found}"
        ) from None


def _object(text: bytes | str, place: str) -> dict:
    """A JSON object; InputError, with its place, for anything else."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogatepass")
        values = json.loads(text)
    except RecursionError:
        raise InputError(f"{place}: expected JSON, but it is damaged: nested too deep") from None
    except ValueError as error:
        raise InputError(f"{place}: expected JSON, but it is damaged: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{place}: expected a JSON object, found {type(values).__name__}")
    return values


def _check_record(record: dict, place: str) -> None:
    """InputError for a line of metrics that has no step, or a text where a number belongs."""
    step = record.get("step")
    if type(step) is not int or not 0 <= step < 2**63:
        raise InputError(f"{place}: expected a JSON object with a whole number as 'step'")
    for name in ("loss", "validation_loss", "seconds"):
        value = record.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or value > 1e300:
            raise InputError(f"{place}: {name}: expected a number, found {short(value)}")


def _check_version(path: Path, version: object) -> None:
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: expected format version {FORMAT_VERSION}, found {short(version)}: "
            "it was written by another version of minillm"
        )
