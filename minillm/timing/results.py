"""The figures of a race or a benchmark: JSON lines, one file for each run, never written over.

The first line is the machine.  A line of limits follows for each number of threads, and a line for
each cell: one case on one number of threads, with the seconds of every turn.  Turns of the same
number belong to one round, in which all contestants ran one after the other.
"""

import itertools
import json
import math
import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, TextIO

import numpy as np

from minillm import _kernels, kernels_info
from minillm.errors import InputError, short

VERSION = 1
FINGERPRINT = ("processor", "cores", "caches", "instruction sets")  # of a machine
VERSIONS = ("python", "numpy", "blas", "torch", "kernels", "compiler")  # of what runs on it
OTHERS = ("date", "commit", "dirty", "load")
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Limits:
    """The limits of the machine on some number of threads, as measured in the same run."""

    threads: int
    flops: float  # operations a second, of the fastest matrix product
    bytes: float  # bytes a second, of an array beyond all caches, read and written

    def seconds(self, cell: "Cell") -> float:
        """The shortest time that a cell can take (the roofline)."""
        return max(cell.flops / self.flops, cell.bytes / self.bytes)


@dataclass(frozen=True)
class Cell:
    """One case on one number of threads.  ``size`` is a number where the case is one of a race."""

    threads: int
    kind: str
    sizes: str
    flops: float  # 0: not counted
    bytes: float  # moved at least, each array once; 0: not counted
    seconds: dict[str, list[float]]  # of each turn of each contestant
    size: float | None = None

    @property
    def key(self) -> tuple[int, str, str]:
        return self.threads, self.kind, self.sizes

    def median(self, name: str) -> float:
        """The seconds of a contestant."""
        return median(self.seconds[name])


@dataclass
class Results:
    """The figures of a run."""

    machine: dict[str, Any]
    limits: dict[int, Limits] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    file: TextIO | None = None

    def write_to(self, file: TextIO) -> None:
        """Write all records to a file, and from now on each record when it is added."""
        self.file = file
        self._write("machine", self.machine)
        records: list[Limits | Cell] = [*self.limits.values(), *self.cells]
        for record in records:
            self._write(type(record).__name__.lower(), asdict(record))

    def add(self, record: Limits | Cell) -> None:
        """Keep a record; of several limits, the largest: something disturbed the others."""
        if isinstance(record, Limits):
            before = self.limits.get(record.threads, record)
            largest = max(before.flops, record.flops), max(before.bytes, record.bytes)
            self.limits[record.threads] = Limits(record.threads, *largest)
        else:
            self.cells.append(record)
        self._write(type(record).__name__.lower(), asdict(record))

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        if self.file is not None:
            print(json.dumps({kind: values}), file=self.file, flush=True)


def new_file(folder: Path, name: str = "") -> TextIO:
    """Open a file that is named after the date, and did not exist before."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        suffix = f"-{number}" if number > 1 else ""
        try:
            return open(folder / f"{name}{datetime.now():%Y-%m-%d-%H%M%S}{suffix}.jsonl", "x")
        except FileExistsError:
            continue
    raise AssertionError("unreachable")


def load(path: str | Path) -> Results:
    """Read a file of results.

    InputError where the file is missing, damaged or of another version.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a file of results, found {_reason(error)}") from None
    results = None
    for number, line in enumerate(lines, 1):
        place = f"{path}, line {number}"
        try:
            ((kind, values),) = json.loads(line).items()
            if results is None:
                results = Results(_of_this_version(kind, values, place))
            else:
                results.add(_record(kind, values))
        except InputError:
            raise
        except DAMAGED:
            what = "limits or a cell" if results else "a machine"
            raise InputError(f"{place}: expected a record of {what}, found {short(line)}") from None
    if results is None:
        raise InputError(f"{path}: expected results, found an empty file")
    without = {cell.threads for cell in results.cells} - results.limits.keys()
    if without:
        raise InputError(f"{path}: expected the limits on {min(without)} threads, found none")
    return results


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "bytes that are no text"


def _of_this_version(kind: str, values: dict[str, Any], place: str) -> dict[str, Any]:
    version = values["version"]
    if kind != "machine":
        raise ValueError(kind)
    if version != VERSION:
        raise InputError(f"{place}: expected results of version {VERSION}, found {short(version)}")
    if missing := {*FINGERPRINT, *VERSIONS, *OTHERS} - values.keys():
        raise ValueError(missing)
    described(values)  # raises TypeError where one is no text or no number
    return values


def _record(kind: str, values: dict[str, Any]) -> Limits | Cell:
    """Make a record of a line.  ValueError unless each round has a time of each contestant."""
    record = {"limits": Limits, "cell": Cell}[kind](**values)
    if isinstance(record, Limits):
        times, work, texts = [[record.flops, record.bytes]], [], []
    else:
        times, work = list(record.seconds.values()), [record.flops, record.bytes]
        texts = [record.kind, record.sizes]
    seconds = np.array(times, float)
    if seconds.ndim != 2 or not seconds.size or not ((seconds > 0) & (seconds < math.inf)).all():
        raise ValueError("times")
    if type(record.threads) is not int or not all(isinstance(text, str) for text in texts):
        raise ValueError("names")
    if not all(0 <= number < math.inf for number in work):
        raise ValueError("work")
    return record


# --- the machine ----------------------------------------------------------------------------


def processor() -> str:
    """The name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """The fingerprint of the machine, the versions of what runs, and the load."""
    info = kernels_info()
    return {
        "version": VERSION,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "caches": caches(),
        "instruction sets": [name for name in info["available"] if name != "numpy"],
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas(),
        "torch": _version("torch"),
        "jax": _version("jax"),
        "numba": _version("numba"),
        "kernels": info["kernels"],
        "held to AVX2": not HELD_TO_AVX2.items() - os.environ.items(),
        "compiler": compiler(),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


# With these in the environment, NumPy's OpenBLAS and PyTorch use no more than AVX2.
HELD_TO_AVX2 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def caches() -> dict[str, str]:
    """The caches of a core by name, where Linux lists them."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in CACHE_FILES)
        found[f"L{level} {kind.lower()}"] = size
    return found


CACHE_FILES = ("level", "type", "size")


def blas() -> str:
    """The library that multiplies NumPy's matrices."""
    built: Any = np.show_config(mode="dicts")
    library = built["Build Dependencies"]["blas"]
    return f"{library.get('name')} {library.get('version')}"


def compiler() -> str | None:
    """The compiler of the kernels: it leaves its name in the modules."""
    for path in Path(_kernels.__file__).parent.glob("_matmul_*"):
        if found := re.search(rb"(GCC: |clang version )[ -~]+", path.read_bytes()):
            return found[0].decode()
    return None


def git(*arguments: str) -> str | None:
    """The output of git in the repository that the program runs in, if there is one."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def described(machine: dict[str, Any]) -> str:
    """The machine in three lines."""
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    torch = f"PyTorch {machine['torch']}" if machine["torch"] else "no PyTorch"
    for name, package in (("JAX", "jax"), ("Numba", "numba")):  # older files lack them
        if version := machine.get(package):
            torch += f", {name} {version}"
    held = ", both held to AVX2" if machine.get("held to AVX2") else ""
    commit = (machine["commit"] or "unknown")[:10] + ", changed" * machine["dirty"]
    load = "unknown" if machine["load"] is None else f"{machine['load']:.1f}"
    return (
        f"{machine['processor']}, {machine['cores']} cores; {caches}\n"
        f"{machine['kernels']} kernels ({machine['compiler']}), Python {machine['python']}, "
        f"NumPy {machine['numpy']} ({machine['blas']}), {torch}{held}\n"
        f"commit {commit}; load {load}; {machine['date']}"
    )
