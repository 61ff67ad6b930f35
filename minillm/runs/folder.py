"""The folder of a run: its files, written completely or not at all.

    config.json          format version, kind of model, sizes, settings, data
    vocabulary.json      token to id (two such files if the model reads one and writes another)
    chat.json            the chat template of a model that answers
    model.safetensors    the best weights so far
    model.gguf           in its place the weights of a model that are quantised
    resume.safetensors   the checkpoint: weights, optimiser, carried state; and, as JSON in its
                         metadata, the state of the random numbers, the step and the data position
    metrics.jsonl        a line every few steps, and one for each validation
    given.txt            data that were passed as Python objects
    loss.png             the loss curve

Each file is written under a temporary name, synced to disk, then renamed.  A kill at any moment
leaves the last good file.  Only metrics.jsonl grows in place.  A line that a kill cut short is
dropped when the file is read.  No file is a pickle.

A new run is made in the hidden folder ``.minillm-new``.  It is complete when it has its
configuration and, if it replaces an old run, its first weights.  Then it is renamed, in a single
step, to ``.minillm-whole``, and its files are moved.  If a kill stops that, the next process that
opens the run moves the rest.

Only one process at a time writes a run: it holds a lock of the operating system, which ends with
it, of the file ``.minillm-lock``, which names the process.  A system without such locks, such as
Windows, does not notice a second process.  If a job has several ranks, only rank 0 writes the run
and locks its folder.
"""

import json
import math
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import (
    bounded_lines,
    copy_file,
    file_digest,
    from_json,
    lock,
    naming,
    read_json,
    reading,
    remove_temporaries,
    write_file,
)
from minillm.decoding import Sampling
from minillm.errors import InputError, no_file, short
from minillm.formats.tensors import Tensor, open_tensors, write_tensors
from minillm.mpi import ranks
from minillm.option import make
from minillm.text import ChatTemplate

FORMAT_VERSION = 1

# Data that were given as Python objects: see minillm/runs/python_data.py.
DATA_FILES = ("given.txt", "given.jsonl")

WEIGHTS = ("model.safetensors", "model.gguf")  # a run has one of them

_FILES = (
    "vocabulary.json",
    "vocabulary.source.json",  # of a model that reads one vocabulary and writes another
    "vocabulary.target.json",
    "chat.json",
    *WEIGHTS,
    "resume.safetensors",
    "metrics.jsonl",
    "loss.png",
    *DATA_FILES,
    "tokenizer.json",  # of a tokenizer, for other programs
    "tokenizer_config.json",
    "config.json",  # written last: a folder with it is complete
)
_NEW, _WHOLE = ".minillm-new", ".minillm-whole"
LOCK = ".minillm-lock"  # names the process that holds the folder
_RUN = "{run}/"  # begins the path of a file in the run's own folder, which may be moved


def _by_rank_0(method: Callable[..., None]) -> Callable[..., None]:
    """Make a method that writes do nothing on other ranks."""

    @wraps(method)
    def alone(*arguments: object, **options: object) -> None:
        if ranks().rank == 0:
            method(*arguments, **options)

    return alone


class RunFolder:
    """The files of one run.  Reading a bad file raises InputError with its name."""

    def __init__(self, path: str | Path):
        if not str(path):
            raise InputError("expected the name of a folder, found an empty name")
        self.path = Path(path)
        self.resume_path = self.path / "resume.safetensors"  # where the checkpoint is
        self.attached: dict[str, Path] = {}  # files that a new run gets, by name
        self.temporary = False  # the folder of a run in memory, which messages do not name
        self._place = self.path  # where the files are: elsewhere while a new run is not whole

    def holds_run(self) -> bool:
        """Whether any file of a run is here."""
        return any((self.path / name).exists() for name in _FILES)

    def check_free(self, overwrite: bool, resumable: bool = False) -> None:
        """InputError if the folder already has a run, unless it may be replaced."""
        if self.holds_run() and not overwrite:
            resume = "resume to continue it, or " if resumable else ""
            raise InputError(
                f"{self.path}: it already holds a run: give {resume}overwrite to replace it"
            )

    # A new run, and the old one that it replaces

    @contextmanager
    def held(self, wait: float = 0.02) -> Iterator[None]:
        """Make and lock the folder, and finish what a killed process left undone.

        InputError if another process holds the lock for more than ``wait`` seconds.
        """
        with held(self.path, wait):
            self._move_whole()
            shutil.rmtree(self.path / _NEW, ignore_errors=True)
            remove_temporaries(self.path)
            try:
                yield
            finally:
                shutil.rmtree(self.path / _NEW, ignore_errors=True)

    @contextmanager
    def held_for_all(self) -> Iterator[None]:
        """Let rank 0 lock the folder for the block; all other ranks wait for that.

        An InputError or OSError of rank 0 is raised on all ranks.
        """
        with ExitStack() as stack:
            error: Exception | None = None
            if ranks().rank == 0:
                try:
                    stack.enter_context(self.held())
                except (InputError, OSError) as raised:
                    error = raised
            error = ranks().gather(error)[0]
            if error is not None:
                raise error
            yield

    @_by_rank_0
    def begin(self) -> None:
        """Begin a new run.  An old one remains until it is complete; other files remain."""
        self._place = self.path / _NEW
        shutil.rmtree(self._place, ignore_errors=True)
        with naming(self.path):
            self._place.mkdir(parents=True)
        for name, file in self.attached.items():
            self._copy(file, name)

    def settle(self) -> None:
        """Move the rest of a complete new run, if a kill stopped that."""
        if (self.path / _WHOLE).is_dir():
            with self.held(wait=10):
                pass

    def _replace(self) -> None:
        """Put the new run in its place, if it is complete."""
        if self._place == self.path or not (self._place / "config.json").exists():
            return
        if not self.holds_run() or any((self._place / name).exists() for name in WEIGHTS):
            with naming(self.path):
                os.rename(self._place, self.path / _WHOLE)
            self._place = self.path
            self._move_whole()

    def _move_whole(self) -> None:
        """Move a complete run's files into place; may be interrupted and called again."""
        whole = self.path / _WHOLE
        if not whole.is_dir():
            return
        if (whole / "config.json").exists():  # it is moved first: this is the beginning
            for name in _FILES:
                (self.path / name).unlink(missing_ok=True)
        for name in reversed(_FILES):
            with naming(self.path / name), suppress(FileNotFoundError):
                os.replace(whole / name, self.path / name)
        shutil.rmtree(whole)

    # JSON

    @_by_rank_0
    def save_json(self, name: str, values: dict) -> None:
        """Write ``values`` as the file ``name``, with the format's version."""
        values = {"format_version": FORMAT_VERSION, **values}
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        self._write(name, text.encode("utf-8", "surrogatepass"))
        self._replace()

    def load_json(self, name: str) -> dict:
        """The values written by :meth:`save_json`."""
        path = self._place / name
        if not path.exists():
            if not (self.path / "config.json").exists():
                raise no_file(self.path, "there is no run in it (no config.json)")
            raise InputError(f"{path}: the file is missing from the run")
        values = read_json(path)
        _check_version(path, values.pop("format_version", None))
        return values

    def chat_template(self) -> ChatTemplate | None:
        """The chat template of a model that answers.  InputError if its file is damaged."""
        if not (self._place / "chat.json").exists():
            return None
        values = self.load_json("chat.json")
        place = f"{self.path / 'chat.json'}: it is damaged: "
        try:
            template = ChatTemplate.from_dict(values)
        except ValueError as error:
            raise InputError(f"{place}{error}") from None
        make(Sampling, template.sampling, f"{place}sampling: ")
        return template

    @_by_rank_0
    def save_file(self, name: str, data: bytes) -> None:
        """Write a file for other programs."""
        self._write(name, data)

    # Data stored in the folder

    def portable(self, data: Mapping[str, object]) -> dict[str, object]:
        """Data for config.json: those in this folder are found wherever the folder is."""
        inside = {os.path.abspath(self.path / name): name for name in DATA_FILES}
        inside |= {str(path): name for name, path in self.attached.items()}
        text = json.dumps(dict(data))
        for path, name in inside.items():
            text = text.replace(json.dumps(path), json.dumps(f"{_RUN}{name}"))
        return json.loads(text)

    def located(self, data: Mapping[str, object]) -> dict[str, object]:
        """Data from config.json, with the paths where the folder is now."""
        inside = json.dumps(f"{os.path.abspath(self.path)}{os.sep}")
        return json.loads(json.dumps(dict(data)).replace(f'"{_RUN}', inside[:-1]))

    def copy_to(self, other: "RunFolder") -> None:
        """Copy the complete run to a new folder."""
        other.begin()
        for name in _FILES:
            if (self.path / name).exists() and name != "config.json":
                other._copy(self.path / name, name)
        other.save_json("config.json", self.load_json("config.json"))

    # Weights

    @_by_rank_0
    def save_model(self, params: Mapping[str, np.ndarray], values: dict) -> None:
        """Write the weights, and ``values`` with them, as the best so far."""
        self._write_tensors("model.safetensors", params, values)

    @_by_rank_0
    def save_quantised(self, write: Callable[[Path], None]) -> None:
        """Let ``write`` make the file of weights that are quantised."""
        path = self._place / "model.gguf"
        with naming(self.path / path.name):
            write(path)

    @property
    def model_path(self) -> Path:
        """The file of the weights.  InputError if there is none yet."""
        paths = [self._place / name for name in WEIGHTS]
        for path in paths:
            if path.exists():
                return path
        raise InputError(f"{paths[0]}: it does not exist yet: the run's first validation writes it")

    def load_model(self) -> dict[str, NDArray]:
        """The best weights, in no more memory than the size of their file.

        InputError for a number that is not finite.
        """
        path = self.model_path
        tensors, _ = _open_tensors(path)
        weights = {name: tensor.read() for name, tensor in tensors.items()}
        for name, array in weights.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputError(
                    f"{path}: the tensor {short(name)}: expected finite numbers, found a NaN or an "
                    "infinite one: the training had diverged, or the file is damaged"
                )
        return weights

    def fingerprint(self) -> str:
        """A digest of the stored best weights."""
        self.settle()
        return file_digest(self.model_path, regular=True)

    # The checkpoint

    @_by_rank_0
    def save_resume(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Write the whole state of the training."""
        self._write_tensors(self.resume_path.name, arrays, values)
        self._replace()

    def resume_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the arrays of :meth:`load_resume`, by name, without reading them."""
        tensors, _ = _open_tensors(self.resume_path)
        return {name: tensor.shape for name, tensor in tensors.items()}

    def load_resume(self) -> tuple[dict[str, np.ndarray], dict]:
        """The arrays and values written by :meth:`save_resume`."""
        tensors, values = _open_tensors(self._place / self.resume_path.name)
        return {name: tensor.read() for name, tensor in tensors.items()}, values

    # Metrics

    @_by_rank_0
    def append_metrics(self, record: dict) -> None:
        """Add a line to ``metrics.jsonl``."""
        path = self._place / "metrics.jsonl"
        with naming(path), open(path, "a", encoding="utf-8") as file:
            file.write(_metrics_line(record))

    def read_metrics(self) -> list[dict]:
        """The lines of ``metrics.jsonl``, without one that a kill cut short.

        InputError, with the line's number, for one without a step, or with a wrong number.
        """
        path = self._place / "metrics.jsonl"
        records: list[dict] = []
        if not path.exists():
            return records
        with reading(path, regular=True) as file:
            for number, line in enumerate(bounded_lines(file, str(path)), start=1):
                if line.endswith(b"\n"):
                    place = f"{path}, line {number}"
                    read = from_json(line, place, dict)
                    record = {n: math.nan if value is None else value for n, value in read.items()}
                    _check_record(record, place)
                    records.append(record)
        return records

    @_by_rank_0
    def trim_metrics(self, step: int) -> None:
        """Drop the lines after ``step``, at which a run is resumed; make the folder."""
        self._place.mkdir(parents=True, exist_ok=True)
        kept = [_metrics_line(r) for r in self.read_metrics() if r["step"] <= step]
        self._write("metrics.jsonl", "".join(kept).encode())

    def _write(self, name: str, data: bytes) -> None:
        with naming(self.path / name):
            write_file(self._place / name, data)

    def _copy(self, file: Path, name: str) -> None:
        with naming(self.path / name):
            copy_file(file, self._place / name)

    def _write_tensors(self, name: str, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        values = {"format_version": FORMAT_VERSION, **values}
        with naming(self.path / name):
            write_tensors(self._place / name, arrays, {"minillm": json.dumps(values)})


def _open_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file of the run, not read yet, and the values stored with them."""
    if not path.exists():
        raise InputError(f"{path}: the file is missing from the run")
    tensors, metadata = open_tensors(path)
    values = from_json(metadata.get("minillm", "{}"), f"{path}: its metadata", dict)
    _check_version(path, values.pop("format_version", None))
    return tensors, values


def _metrics_line(record: dict) -> str:
    """A line of metrics: null for a loss that is NaN or infinite, which JSON cannot say."""
    finite = {n: v if math.isfinite(v) else None for n, v in record.items()}
    return json.dumps(finite) + "\n"


def _check_record(record: dict, place: str) -> None:
    """InputError for a line of metrics without a step, or with a loss that is no number."""
    step = record.get("step")
    losses = [value for name, value in record.items() if name.endswith(("loss", "seconds"))]
    whole = type(step) is int and step >= 0
    if not whole or not all(type(value) in (int, float) and not value > 1e300 for value in losses):
        raise InputError(
            f"{place}: expected a whole number as 'step', and numbers as losses, "
            f"found {short(record)}"
        )


def _check_version(path: Path, version: object) -> None:
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: expected format version {FORMAT_VERSION}, found {short(version)}: "
            "it was written by another version of minillm"
        )


# --- the lock -------------------------------------------------------------------------------------


@contextmanager
def held(folder: Path, wait: float = 0.02) -> Iterator[None]:
    """Make the folder, and lock it until the block ends.

    A folder that was made here and is empty at the end is removed.  InputError, with the name of
    the process, if another one holds the lock for more than ``wait`` seconds.
    """
    if folder.is_file():
        raise InputError(f"{folder}: expected a folder, found a file")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    until = time.monotonic() + wait
    try:
        while (file := _locked(folder)) is None:
            if time.monotonic() >= until:
                with naming(folder):
                    who = (folder / LOCK).read_text("utf-8") or "another process"
                raise InputError(f"{folder}: it is in use by {who}")
            time.sleep(0.01)
        with file:
            try:
                yield
            finally:
                with suppress(OSError):  # Windows deletes no open file
                    (folder / LOCK).unlink()
    finally:
        with suppress(OSError):  # it is not empty
            for path in made:
                path.rmdir()


def _locked(folder: Path) -> IO | None:
    """The locked file, which names this process; None if another one holds it."""
    path = folder / LOCK
    try:
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (closed by the caller)
    except (FileExistsError, FileNotFoundError):
        return None  # its last holder has just removed the folder, or a folder above it
    with ExitStack() as failed:
        failed.push(file)
        if lock(file) is False:
            return None
        if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path))):
            return None  # its last holder has just removed the file that was opened here
        with suppress(OSError):  # on a full disk, the lock works without a name
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}")
            file.flush()
        failed.pop_all()
    return file
