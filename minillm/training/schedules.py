"""The learning rate over a run."""

import math


def warmup_cosine(progress: float, warmup: float = 0.02, final: float = 0.01) -> float:
    """The learning rate as a fraction of its peak, at ``progress``, which runs from 0 to 1.

    It rises linearly from ``final`` to 1 until ``warmup``, then falls along half a
    cosine to ``final``.  Progress may be counted in steps or in minutes.

    Source: Loshchilov and Hutter (2017), equation 5, without restarts; the warm-up is that of
    Goyal et al. (2017), section 2.2.
    """
    if progress < warmup:
        return final + (1 - final) * progress / warmup
    falling = min((progress - warmup) / (1 - warmup), 1.0)
    return final + (1 - final) * (1 + math.cos(math.pi * falling)) / 2


def inverse_square_root(progress: float, warmup: float = 0.02) -> float:
    """The learning rate as a fraction of its peak: linear until ``warmup``, then as 1 / sqrt(t).

    Source: Vaswani et al. (2017), "Attention is all you need", equation 3, where the peak and the
    warm-up are the width's and a number of steps.
    """
    if progress < warmup:
        return progress / warmup
    return (warmup / progress) ** 0.5 if warmup > 0 else 1.0
