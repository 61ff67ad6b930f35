"""Learning-rate schedules: the rate over a run, as a fraction of its peak.

A schedule is a function of three numbers: the progress of the run, from 0 to 1, the fraction of the
run that is warm-up, and the rate at its end.  The settings of a run choose one of ``SCHEDULES``.
"""

import math
from collections.abc import Callable

Schedule = Callable[[float, float, float], float]  # progress, warmup, final -> rate


def warmup_cosine(progress: float, warmup: float = 0.02, final: float = 0.01) -> float:
    """A linear rise from ``final`` to 1 at ``warmup``, then half a cosine down to ``final``.

    Source: Loshchilov and Hutter (2017), equation 5, without restarts; the warm-up was introduced
    by Goyal et al. (2017), section 2.2.
    """
    if progress < warmup:
        return final + (1 - final) * progress / warmup
    falling = min((progress - warmup) / (1 - warmup), 1.0)
    return final + (1 - final) * (1 + math.cos(math.pi * falling)) / 2


def inverse_square_root(progress: float, warmup: float = 0.02, final: float = 0.0) -> float:
    """A linear rise from 0 to 1 at ``warmup``, then 1 / sqrt(t); ``final`` is not used.

    Source: Vaswani et al. (2017), "Attention is all you need", equation 3, where the peak and the
    warm-up follow from the width and a number of steps.
    """
    if progress < warmup:
        return progress / warmup
    return math.sqrt(warmup / progress) if warmup > 0 else 1.0


SCHEDULES: dict[str, Schedule] = {
    "cosine": warmup_cosine,
    "inverse-sqrt": inverse_square_root,
}
