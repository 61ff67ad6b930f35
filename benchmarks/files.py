"""Files of results: JSON lines, one file for each run, never written over.

The first line is the machine.  A line of limits follows for each number of threads, and a line for
each cell: one case on one number of threads, with the seconds of every turn.
"""

import itertools
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec

from benchmarks.machine import VERSION, described
from minillm.errors import InputError, short
from minillm.timing.results import Cell, Limits, Results

FINGERPRINT = ("processor", "cores", "caches", "instruction sets")  # of a machine
VERSIONS = ("python", "numpy", "blas", "torch", "kernels", "compiler")  # of what runs on it
OTHERS = ("date", "commit", "dirty", "load")
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass
class Line:
    """A line of a file has one of these."""

    machine: dict[str, Any] | None = None
    limits: Limits | None = None
    cell: Cell | None = None


@dataclass
class Kept(Results):
    """Results that are written to a file as they come."""

    file: TextIO | None = None

    def write_to(self, file: TextIO) -> None:
        """Write all records to a file, and from now on each record when it is added."""
        self.file = file
        self._write("machine", self.machine)
        for record in (*self.limits.values(), *self.cells):
            self._write(type(record).__name__.lower(), asdict(record))

    def add(self, record: Limits | Cell) -> None:
        """Keep a record, and write it."""
        super().add(record)
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
