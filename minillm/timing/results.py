"""The figures of a race or a benchmark: the limits of a machine, and the seconds of every turn.

Turns of the same number belong to one round, in which all contestants ran one after the other.
"""

from dataclasses import dataclass, field
from statistics import median
from typing import Annotated, Any

import msgspec

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
class Results:
    """The figures of a run.  ``machine`` says where, if its program describes it."""

    machine: dict[str, Any] = field(default_factory=dict)
    limits: dict[int, Limits] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    def add(self, record: Limits | Cell) -> None:
        """Keep a record; of several limits, the largest: something disturbed the others."""
        if isinstance(record, Limits):
            before = self.limits.get(record.threads, record)
            largest = max(before.flops, record.flops), max(before.bytes, record.bytes)
            self.limits[record.threads] = Limits(record.threads, *largest)
        else:
            self.cells.append(record)
