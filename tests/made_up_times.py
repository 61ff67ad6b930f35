"""Results of a race that no clock has measured."""

from pathlib import Path

import numpy as np

from benchmarks.files import Kept, new_file
from minillm.timing.results import Cell, Limits

LIMITS = Limits(1, 1e11, 2e10)


def times(seed, rounds, spread=0.05, **medians):
    """Make up rounds, with a noise that is skewed as that of times is, and some that all share."""
    rng = np.random.default_rng(seed)
    shared = np.exp(spread * rng.standard_normal(rounds))
    return Cell(
        1,
        "lstm",
        "32, 64",
        1e9,
        1e6,
        {
            name: (middle * shared * np.exp(spread * rng.exponential(size=rounds))).tolist()
            for name, middle in medians.items()
        },
    )


def kept(here, *cells, folder, **changed):
    """Write a file of results, and return its path."""
    results = Kept({**here, **changed}, {1: LIMITS}, list(cells))
    with new_file(folder) as file:
        results.write_to(file)
    return Path(file.name)
