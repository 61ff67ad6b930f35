"""Rotary position embedding."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate


def rotary(
    x: NDArray, positions: NDArray[np.integer], base: float = 10000.0
) -> tuple[NDArray, Callable]:
    """Rotate each pair of numbers of a query or a key by an angle proportional to its position.

        angle_i = position base^(-2 i / D)        i = 0 .. D/2 - 1
        y_i         = x_i cos(angle_i) - x_{i + D/2} sin(angle_i)
        y_{i + D/2} = x_i sin(angle_i) + x_{i + D/2} cos(angle_i)

    x (B, N, T, D) with an even D, positions (B, T) from 0 up -> y (B, N, T, D).
    ``backward(dy)`` -> dx.  Keeps the cosines and sines, (B, 1, T, D/2).

    The product of a rotated query and a rotated key depends only on the distance between
    their positions.  The backward of a rotation is the rotation by the opposite angle.

    Raises TypeError or ValueError where dtypes or shapes do not fit, D is odd, a
    position is negative or base is not positive.
    Source: Su, Lu, Pan, Murtadha, Wen and Liu (2021), "RoFormer: enhanced transformer
    with rotary position embedding", equation 15.  There a pair is x_{2i}, x_{2i + 1};
    here it is x_i, x_{i + D/2}, as in the weights of GPT-NeoX and Llama.
    """
    B, _, T, D = _validate.floats("rotary", x=(x, "B N T D")).values()
    if D % 2 == 1:
        raise ValueError(f"rotary: x: expected an even D, found shape {x.shape}")
    base = _validate.positive("rotary", "base", base)
    places = _validate.ids("rotary", "positions", positions, 2**53, (B, T))
    angles = places[:, None, :, None] * base ** (-2 * np.arange(D // 2) / D)
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)  # (B, 1, T, D/2)
    first, second = np.split(x, 2, axis=-1)  # (B, N, T, D/2)
    y = np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
    upstream = _validate.upstream("rotary", dy=y)

    def backward(dy):
        dfirst, dsecond = np.split(upstream(dy), 2, axis=-1)
        return np.concatenate([dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin], axis=-1)

    return y, backward
