"""The table of a race."""

from collections.abc import Sequence
from statistics import quantiles

from minillm.timing.results import Cell, Limits, Results


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
