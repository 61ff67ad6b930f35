"""Pictures of results: the times against the sizes, and the speeds under the roofline."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from minillm.errors import InputError
from minillm.timing.results import Cell, Limits, Results


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
