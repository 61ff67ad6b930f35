"""Learning-rate schedules: the rate over a run, as a fraction of its peak.

A schedule is a function of the progress of the run, from 0 to 1 in steps or in minutes, of the
fraction of the run that is warm-up, and of the rate at its end.  Decorated with its name, it can be
chosen in the settings of a run.
"""

import math
from collections.abc import Callable

Schedule = Callable[[float, float, float], float]  # progress, warmup, final -> rate

SCHEDULES: dict[str, Schedule] = {}


def schedule(name: str) -> Callable[[Schedule], Schedule]:
    """Register a schedule under a name."""

    def register(function: Schedule) -> Schedule:
        SCHEDULES[name] = function
        return function

    return register


@schedule("cosine")
def warmup_cosine(progress: float, warmup: float = 0.02, final: float = 0.01) -> float:
    """A line from ``final`` up to 1 until ``warmup``, then half a cosine down to ``final``.

    Source: Loshchilov and Hutter (2017), equation 5, without restarts; the warm-up is that of
    Goyal et al. (2017), section 2.2.
    """
    if progress < warmup:
        return final + (1 - final) * progress / warmup
    falling = min((progress - warmup) / (1 - warmup), 1.0)
    return final + (1 - final) * (1 + math.cos(math.pi * falling)) / 2


@schedule("inverse-sqrt")
def inverse_square_root(progress: float, warmup: float = 0.02, final: float = 0.0) -> float:
    """A line from 0 up to 1 until ``warmup``, then 1 / sqrt(t); ``final`` is not used.

    Source: Vaswani et al. (2017), "Attention is all you need", equation 3, where the peak and the
    warm-up follow from the width and a number of steps.
    """
    if progress < warmup:
        return progress / warmup
    return math.sqrt(warmup / progress) if warmup > 0 else 1.0
