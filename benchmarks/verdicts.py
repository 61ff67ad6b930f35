"""Two files of results: what has changed, whether it is real, and whether it is the code.

    python -m benchmarks compare A.jsonl B.jsonl

For each case there is the ratio of the medians, B / A, with an interval by the bootstrap: rounds
are drawn again, with all contestants of a round together.  A contestant is better or worse if

1. the interval does not contain 1, and the ratio differs from 1 by 3 % or more.  A process keeps
   its places in memory until it ends, and two processes with the same code may differ by so much;
2. the same is true of its times in units of the first contestant's (NumPy) in the same rounds.  A
   machine that is slower today slows down both, and their ratio stays.

The intervals have 99 %, because a file has dozens of cells.  Times of two machines say
nothing about the code, and are refused.

Source: Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 13 (percentiles).
"""

from typing import NamedTuple

import numpy as np

from benchmarks.machine import described
from minillm.errors import InputError
from minillm.timing.contest import ROUNDS
from minillm.timing.results import Cell, Results, aligned, limit_lines

from .files import FINGERPRINT, VERSIONS

RESAMPLES = 2000
OUTSIDE = 0.005  # the part of the resamples on either side of the interval
SMALLEST = 0.03  # difference that counts


class Verdict(NamedTuple):
    """The ratio B / A with its interval; below 1, B is better."""

    ratio: float
    low: float
    high: float
    word: str


def verdict(a: Cell, b: Cell, name: str) -> Verdict:
    """Compare a contestant in two cells."""
    control = next(iter(a.seconds))
    rng = np.random.default_rng(0)
    columns = [np.array([cell.seconds[name], cell.seconds[control]]).T for cell in (a, b)]
    pairs = [np.stack([times[:, 0], times[:, 0] / times[:, 1]], axis=1) for times in columns]
    ratio, paired = np.median(pairs[1], axis=0) / np.median(pairs[0], axis=0)
    drawn = _medians(pairs[1], rng) / _medians(pairs[0], rng)  # (resamples, 2)
    low, high = np.quantile(drawn, [OUTSIDE, 1 - OUTSIDE], axis=0)
    word = "no difference"
    beyond = ((low > 1) | (high < 1)) & (np.abs(np.array([ratio, paired]) - 1) >= SMALLEST)
    if min(map(len, pairs)) < ROUNDS:
        word = "too few rounds"
    elif beyond.all() and (paired > 1) == (ratio > 1):
        word = "worse" if ratio > 1 else "better"
    elif beyond[0]:
        word = f"no difference: {control} changed, too"
    return Verdict(float(ratio), float(low[0]), float(high[0]), word)


def _medians(rounds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Medians of rounds drawn with replacement: (rounds, k) -> (resamples, k)."""
    drawn = rng.integers(0, len(rounds), (RESAMPLES, len(rounds)))
    return np.median(rounds[drawn], axis=1)


def compare(a: Results, b: Results) -> str:
    """A table of all cells that both have.  InputError for results of two machines."""
    if any(a.machine[key] != b.machine[key] for key in FINGERPRINT):
        names = " and ".join(results.machine["processor"] for results in (a, b))
        raise InputError(f"compare: expected results of one machine, found {names}")
    lines = []
    for name, results in (("A", a), ("B", b)):
        lines += [f"{name}: {described(results.machine)}", *limit_lines(results), ""]
    lines.append("Times are compared (ms; B / A below 1: B is faster).")
    changed = [key for key in VERSIONS if a.machine[key] != b.machine[key]]
    lines += [f"{key}: {a.machine[key]} and {b.machine[key]}" for key in changed]
    rows, words = [], []
    newer = {cell.key: cell for cell in b.cells}
    pairs = [(cell, newer[cell.key]) for cell in a.cells if cell.key in newer]
    for old, new in pairs:
        for name in _compared(old, new):
            found = verdict(old, new, name)
            shown = [f"{1e3 * cell.median(name):.3g}" for cell in (old, new)]
            interval = f"({found.low:.2f} to {found.high:.2f})"
            place = [str(old.threads), old.kind, old.sizes, name]
            rows.append([*place, *shown, f"{found.ratio:.2f}", interval, found.word])
            words.append(found.word.partition(":")[0])
    head = ["threads", "case", "sizes", "", "A", "B", "B / A", "99 %", "verdict"]
    lines += ["", aligned([head, *rows], left=(1, 2, 3, 8)), ""]
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(sorted(words)))
    only = [len({cell.key for cell in r.cells}) - len(pairs) for r in (a, b)]
    lines.append(f"{len(words)} compared: {counts or 'nothing in common'}.")
    lines += [f"In {x} alone: {n}." for n, x in zip(only, "AB", strict=True) if n]
    return "\n".join(lines)


def _compared(a: Cell, b: Cell) -> list[str]:
    """The contestants in both, without the first one and PyTorch, which are not ours."""
    names = list(a.seconds)
    return [n for n in names[1:] if n in b.seconds and names[0] in b.seconds and n != "PyTorch"]
