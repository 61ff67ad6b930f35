"""The table and the picture of a race."""

import io
from collections.abc import Sequence
from statistics import quantiles
from typing import Any

import numpy as np

from minillm.errors import InputError
from minillm.timing.results import Cell, Limits, Results, described

# --- tables ---------------------------------------------------------------------------------


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
    return "\n".join(
        [described(results.machine), *limit_lines(results), "", aligned(rows, left=(1,))]
    )


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


# --- pictures -------------------------------------------------------------------------------


def picture(results: Results) -> bytes:
    """Draw the times against the sizes, if there are several, and the roofline."""
    count = min(results.limits)
    cells = [cell for cell in results.cells if cell.threads == count]
    sized = [cell for cell in cells if cell.size is not None]
    counted = any(cell.flops and cell.bytes for cell in cells)
    figure = _figure(bool(sized) + counted)
    panels = list(figure.axes)
    if sized:
        draw_times(panels.pop(0), sized)
    if counted:
        draw_roofline(panels.pop(0), cells, results.limits[count])
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()


def _figure(panels: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a report needs the package matplotlib") from None
    figure = Figure(figsize=(7 * max(panels, 1), 5.5), layout="constrained")
    figure.subplots(1, max(panels, 1))
    return figure


def draw_times(axes: Any, cells: Sequence[Cell]) -> None:
    """Plot medians against sizes; the power of n in the legend is the slope of a line."""
    for number, name in enumerate(_names(cells)):
        line = [(cell.size, 1e3 * cell.median(name)) for cell in cells if name in cell.seconds]
        label = name if (power := slope(line)) is None else f"{name}: $n^{{{power:.1f}}}$"
        axes.loglog(*zip(*line, strict=True), "o-", color=f"C{number}", markersize=4, label=label)
    ticks = sorted({cell.size for cell in cells if cell.size is not None})
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{size:g}" for size in ticks])
    axes.set(xlabel="size n", ylabel="ms")
    axes.grid(alpha=0.3)
    axes.legend()


def slope(points: Sequence[tuple[Any, float]]) -> float | None:
    """The power of the size that the time grows with; None for a single size."""
    x, y = np.log(np.array(points, float)).T
    if np.ptp(x) == 0:
        return None
    return float(np.polyfit(x, y, 1)[0])


def draw_roofline(axes: Any, cells: Sequence[Cell], limits: Limits) -> None:
    """Plot the speed of all contestants by operations for each byte, below the roofline."""
    cells = [cell for cell in cells if cell.flops and cell.bytes]
    intensity = [cell.flops / cell.bytes for cell in cells]
    ends = np.array([min(intensity) / 2, limits.flops / limits.bytes, max(intensity) * 2])
    ends.sort()
    roof = np.minimum(limits.flops, ends * limits.bytes) / 1e9
    axes.loglog(ends, roof, color="0.5")
    for number, name in enumerate(_names(cells)):
        dots = [
            (cell.flops / cell.bytes, cell.flops / cell.median(name) / 1e9)
            for cell in cells
            if name in cell.seconds
        ]
        axes.loglog(*zip(*dots, strict=True), "o", color=f"C{number}", markersize=5, label=name)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="operations for each byte", ylabel="GFLOP/s")
    axes.grid(alpha=0.3)
    axes.legend()


def _names(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell.seconds))
