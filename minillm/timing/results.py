"""The figures of a race or a benchmark: JSON lines, one file for each run, never written over.

The first line is the machine.  A line of limits follows for each number of threads, and a line for
each cell: one case on one number of threads, with the seconds of every turn.  Turns of the same
number belong to one round, in which all contestants ran one after the other.
"""

import itertools
import json
import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Annotated, Any, TextIO

import msgspec
import numpy as np

from minillm import _kernels, kernels_info
from minillm.errors import InputError, short

VERSION = 1
FINGERPRINT = ("processor", "cores", "caches", "instruction sets")  # of a machine
VERSIONS = ("python", "numpy", "blas", "torch", "kernels", "compiler")  # of what runs on it
OTHERS = ("date", "commit", "dirty", "load")
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


Positive = Annotated[float, msgspec.Meta(gt=0)]
Counted = Annotated[float, msgspec.Meta(ge=0)]  # 0: not counted


@dataclass(frozen=True)
class Limits:
    """The limits of the machine on some number of threads, as measured in the same run."""

    threads: int
    flops: Positive  # operations a second, of the fastest matrix product
    bytes: Positive  # bytes a second, of an array beyond all caches, read and written

    def seconds(self, cell: "Cell") -> float:
        """The shortest time that a cell can take (the roofline)."""
        return max(cell.flops / self.flops, cell.bytes / self.bytes)


@dataclass(frozen=True)
class Cell:
    """One case on one number of threads.  ``size`` is a number where the case is one of a race."""

    threads: int
    kind: str
    sizes: str
    flops: Counted
    bytes: Counted  # moved at least, each array once
    # Of each turn of each contestant.
    seconds: dict[str, Annotated[list[Positive], msgspec.Meta(min_length=1)]]
    size: float | None = None

    @property
    def key(self) -> tuple[int, str, str]:
        return self.threads, self.kind, self.sizes

    def median(self, name: str) -> float:
        """The seconds of a contestant."""
        return median(self.seconds[name])


@dataclass
class Line:
    """A line of a file has one of these."""

    machine: dict[str, Any] | None = None
    limits: Limits | None = None
    cell: Cell | None = None


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
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: expected a file of results, found {error.strerror}") from None
    if not lines:
        raise InputError(f"{path}: expected results, found an empty file")
    results = None
    for number, line in enumerate(lines, 1):
        place = f"{path}, line {number}"
        try:
            found = msgspec.json.decode(line, type=Line)
            if results is None:
                results = Results(_of_this_version(found.machine, place))
            else:
                results.add(_record(found))
        except InputError:
            raise
        except DAMAGED:
            what = "limits or a cell" if results else "a machine"
            raise InputError(f"{place}: expected a record of {what}, found {short(line)}") from None
    assert results is not None
    without = {cell.threads for cell in results.cells} - results.limits.keys()
    if without:
        raise InputError(f"{path}: expected the limits on {min(without)} threads, found none")
    return results


def _of_this_version(machine: dict[str, Any] | None, place: str) -> dict[str, Any]:
    if machine is None or {*FINGERPRINT, *VERSIONS, *OTHERS} - machine.keys():
        if machine and (version := machine.get("version")) != VERSION:
            expected = f"expected results of version {VERSION}"
            raise InputError(f"{place}: {expected}, found {short(version)}")
        raise ValueError("machine")
    described(machine)  # raises TypeError where one is no text or no number
    return machine


def _record(line: Line) -> Limits | Cell:
    """The limits or the cell.  ValueError unless each round has a time of each contestant."""
    record = line.cell or line.limits
    if record is None:
        raise ValueError("neither")
    if isinstance(record, Cell) and len(set(map(len, record.seconds.values()))) != 1:
        raise ValueError("rounds")
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
