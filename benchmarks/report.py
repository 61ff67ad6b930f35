"""The results: a Markdown table and JSON."""

import json
import math
import os
import platform
import sys
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from minillm import kernels_info
from minillm.runs.milestones import processor

from .cases import torch


def machine() -> dict[str, Any]:
    """Return the machine, the versions and the load."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__ if torch else None,
        "kernels": kernels_info()["kernels"],
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


def python(*arguments: str, ranks: int = 1) -> list[str]:
    """Return the command that runs Python; several ranks need mpiexec."""
    beside = Path(sys.executable).with_name("mpiexec")
    start = [str(beside) if beside.exists() else "mpiexec", "-n", str(ranks)] if ranks > 1 else []
    return [*start, sys.executable, *arguments]


def row(case, times: dict[str, list[float]], peak: float) -> dict[str, Any]:
    """Return the figures of one case."""
    medians = {name: median(values) for name, values in times.items()}
    figures: dict[str, Any] = {
        "kind": case.kind,
        "sizes": case.sizes,
        "milliseconds": {name: 1e3 * value for name, value in medians.items()},
        "spread": {name: spread(values) for name, values in times.items()},
        "rounds": len(times["NumPy"]),
        "gflops": case.flops / medians["Cython"] * 1e-9,
        "share of peak": case.flops / medians["Cython"] / peak,
        "times NumPy": medians["NumPy"] / medians["Cython"],
    }
    if "PyTorch" in medians:
        figures["times PyTorch"] = medians["PyTorch"] / medians["Cython"]
    return figures


def spread(values: list[float]) -> float:
    """Return the distance between the quartiles, as a fraction of the median."""
    low, middle, high = quantiles(values, n=4)
    return (high - low) / middle


def table(rows: list[dict[str, Any]], threads: int, peak: float) -> str:
    """Format medians in milliseconds, and the ratios to Cython, in Markdown."""
    lines = [
        f"### {threads} thread{'s' * (threads > 1)} (peak {peak * 1e-9:.0f} GFLOP/s)",
        "",
        "| | sizes | NumPy ms | Cython ms | PyTorch ms | spread | GFLOP/s | of peak "
        "| times NumPy | times PyTorch |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        ms, against = r["milliseconds"], r.get("times PyTorch")
        lost = against is not None and against < 1
        lines.append(
            f"| {r['kind']} | {r['sizes']} | {ms['NumPy']:.3g} | {ms['Cython']:.3g} "
            f"| {format(ms['PyTorch'], '.3g') if 'PyTorch' in ms else '-'} "
            f"| {r['spread']['Cython']:.0%} | {r['gflops']:.1f} | {r['share of peak']:.0%} "
            f"| {r['times NumPy']:.2f} "
            f"| {'-' if against is None else f'{against:.2f}' + ' (lost)' * lost} |"
        )
    for name in ("NumPy", "PyTorch"):
        ratios = [r.get(f"times {name}") for r in rows if r["kind"] in ("rnn", "lstm", "gru")]
        if ratios and all(ratios):
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            lines.append(f"\nRecurrences, geometric mean: {mean:.2f} times {name}.")
    return "\n".join(lines)


def save(folder: Path, results: dict[str, Any], tables: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text("\n\n".join(tables) + "\n")
