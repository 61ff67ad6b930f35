"""The figures of a race or a benchmark: limits of a machine, seconds of every turn; their table.

Turns of the same number belong to one round, in which all contestants ran one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Annotated, Any

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0)]
Counted = Annotated[float, msgspec.Meta(ge=0)]  # 0: not counted


@dataclass(frozen=True)
class Limits:
    """The limits of the machine on some number of threads, as measured in the same run."""

    threads: int
    flops: Positive  # operations a second, of the fastest matrix product
    bytes: Positive  # bytes a second, of arrays beyond all caches, read and written

    def seconds(self, cell: "Cell") -> float:
        """The shortest time that a cell can take (the roofline)."""
        return max(cell.flops / self.flops, cell.bytes / (cell.bandwidth or self.bytes))


@dataclass(frozen=True)
class Cell:
    """One case on one number of threads.  ``size`` is a number where the case is one of a race."""

    threads: int
    kind: str
    sizes: str
    flops: Counted
    bytes: Counted  # moved at least
    # Of each turn of each contestant.
    seconds: dict[str, Annotated[list[Positive], msgspec.Meta(min_length=1)]]
    size: float | None = None
    bandwidth: Counted = 0.0  # bytes a second, of arrays with so many bytes; 0: not measured

    @property
    def key(self) -> tuple[int, str, str]:
        """The threads, the work and its sizes, by which results are compared."""
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


# --- the table -------------------------------------------------------------------------------


def listing(results: Results) -> str:
    """Format a race: a line for each contestant at each size."""
    rows = [["size", "", "ms", "spread", "GFLOP/s", "limit", "times as fast as the first"]]
    for cell in results.cells:
        first = cell.median(next(iter(cell.seconds)))
        for name, times in cell.seconds.items():
            middle = cell.median(name)
            speed = f"{cell.flops / middle / 1e9:.3g}" if cell.flops else "-"
            reached = share(cell, name, results.limits[cell.threads])
            row = [cell.sizes, name, f"{1e3 * middle:.3g}", f"{spread(times):.0%}"]
            rows.append([*row, speed, reached, f"{first / middle:.3g}"])
    return "\n".join([*limit_lines(results), "", aligned(rows, left=(1,))])


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> str:
    """Align columns at the right, but those in ``left`` at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if number in left else text.rjust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def spread(values: Sequence[float]) -> float:
    """The distance between the quartiles, as a fraction of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = quantiles(values, n=4)
    return (high - low) / middle


def limit_lines(results: Results) -> list[str]:
    """The limits of the machine, a line for each number of threads."""
    return [
        f"{count} thread{'s' * (count > 1)}: {each.flops / 1e9:.0f} GFLOP/s, "
        f"{each.bytes / 1e9:.1f} GB/s"
        for count, each in sorted(results.limits.items())
    ]


def share(cell: Cell, name: str, limits: Limits) -> str:
    """The part of the limit that a contestant reaches, in percent."""
    return f"{part:.0%}" if (part := limits.seconds(cell) / cell.median(name)) else "-"
