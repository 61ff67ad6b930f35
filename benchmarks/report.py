"""The table of the project's own cases, after those in which another contestant is faster."""

import math
from collections.abc import Sequence

from benchmarks.machine import described
from minillm.timing.results import Cell, Results, aligned, limit_lines, share, spread

TWIN = "Cython"


def table(results: Results) -> str:
    """Format the project's cases: a line each, all numbers of threads side by side."""
    counts = sorted(results.limits)
    cases: dict[tuple[str, str], dict[int, Cell]] = {}
    for cell in results.cells:
        cases.setdefault((cell.kind, cell.sizes), {})[cell.threads] = cell
    others = list(dict.fromkeys(n for cell in results.cells for n in cell.seconds if n != TWIN))
    heads = ["ms", "spread", *others, "limit"]
    rows = [["", ""], ["", ""]]
    for count in counts:
        rows[0] += [f"{count} thread{'s' * (count > 1)}", *[""] * (len(heads) - 1)]
        rows[1] += heads
    for (kind, sizes), cells in cases.items():
        row = [kind, sizes]
        for count in counts:
            if count not in cells:
                row += [""] * len(heads)
                continue
            cell, ours = cells[count], cells[count].median(TWIN)
            against = [cell.median(n) / ours if n in cell.seconds else None for n in others]
            row += [f"{1e3 * ours:.3g}", f"{spread(cell.seconds[TWIN]):.0%}"]
            row += ["-" if ratio is None else f"{ratio:.2f}" for ratio in against]
            row.append(share(cell, TWIN, results.limits[count]))
        rows.append(row)
    lines = [described(results.machine), *limit_lines(results), "", lost(results, others), ""]
    lines += [aligned(rows, left=(0, 1)), ""]
    for count in counts:
        if means := _mean_ratios(results, count, others):
            lines.append(f"Recurrences on {count}, geometric mean: {means}.")
    lines.append(
        f"ms: median of {TWIN}.  spread: between the quartiles.  NumPy, PyTorch: their times by "
        f"{TWIN}'s.  limit: share of what multipliers, and caches or memory, can do."
    )
    return "\n".join(lines)


def lost(results: Results, others: Sequence[str]) -> str:
    """The cells in which another contestant is faster, in one line."""
    cells = []
    for cell in results.cells:
        ratios = {n: cell.median(n) / cell.median(TWIN) for n in others if n in cell.seconds}
        if faster := ", ".join(f"{n} {r:.2f}" for n, r in ratios.items() if r < 0.995):
            cells.append(f"{cell.kind} ({cell.sizes}) on {cell.threads}: {faster}")
    return f"Lost: {'; '.join(cells)}." if cells else "No cell is lost."


def _mean_ratios(results: Results, count: int, others: Sequence[str]) -> str:
    cells = [c for c in results.cells if c.threads == count and c.kind in ("rnn", "lstm", "gru")]
    means = []
    for name in others:
        if cells and all(name in cell.seconds for cell in cells):
            logarithms = [math.log(cell.median(name) / cell.median(TWIN)) for cell in cells]
            means.append(f"{math.exp(sum(logarithms) / len(cells)):.2f} x {name}")
    return ", ".join(means)
