"""Rotary position embedding."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.rotary_scaling import Scaling, frequencies


@op("x: B N T 2P, positions: B T >= 0, base: positive, scaling: any -> y: B N T 2P", order="rows")
def rotary(
    x: NDArray,
    positions: NDArray[np.integer],
    base: float = 10000.0,
    scaling: Scaling | None = None,
) -> tuple[NDArray, Callable]:
    """Rotate each pair of numbers of a query or a key by an angle proportional to its position.

        theta_i = base^(-2 i / D)        angle_i = position theta_i        i = 0 .. D/2 - 1
        y_i         = x_i cos(angle_i) - x_{i + D/2} sin(angle_i)
        y_{i + D/2} = x_i sin(angle_i) + x_{i + D/2} cos(angle_i)

    x (B, N, T, 2P), positions (B, T) from 0 up -> y (B, N, T, 2P), with D = 2P.
    ``backward(dy)`` -> dx.  Keeps the cosines and sines, (B, T, D/2).

    ``scaling`` changes the theta_i for texts that are longer than in training, and may multiply
    cos and sin by a factor: see :mod:`minillm.ops.rotary_scaling`.

    The product of a rotated query and a rotated key depends only on the distance between
    their positions.  The backward of a rotation is the rotation by the opposite angle.

    Source: Su, Lu, Pan, Murtadha, Wen and Liu (2021), "RoFormer: enhanced transformer
    with rotary position embedding", equation 15.  There, and in the weights that Meta
    published, a pair is x_{2i}, x_{2i + 1}.  Here it is x_i, x_{i + D/2}, as in GPT-NeoX
    and in Hugging Face's Llamas, whose converter permutes the columns of W_q and W_k.
    """
    cos, sin = cos_and_sin(positions, x.shape[-1], base, scaling, x.dtype)
    y = rotary_rotation(x, cos, sin)

    def backward(dy):
        return rotary_rotation(dy, cos, -sin)

    return y, backward


def cos_and_sin(
    positions: NDArray[np.integer], D: int, base: float, scaling: Scaling | None, dtype: np.dtype
) -> tuple[NDArray, NDArray]:
    """The cosines and sines of all angles: int64 positions (B, T) -> (B, T, D/2) each."""
    return _of_all_layers(positions.tobytes(), positions.shape, D, base, scaling, dtype)


# Queries and keys of all layers are at the same positions.  Computed anew for each, these numbers
# took 1 to 24 % of the time of reading a batch, and up to 4 % of a step of training.
@lru_cache(maxsize=2)
def _of_all_layers(
    places: bytes, shape: tuple, D: int, base: float, scaling: Scaling | None, dtype: np.dtype
) -> tuple[NDArray, NDArray]:
    theta, factor = frequencies(D, base), 1.0
    if scaling is not None:
        theta, factor = scaling.frequencies(D, base), scaling.attention_factor
    angles = np.frombuffer(places, np.int64).reshape(*shape, 1) * theta
    return (factor * np.cos(angles)).astype(dtype), (factor * np.sin(angles)).astype(dtype)


@twinned
def rotary_rotation(x: NDArray, cos: NDArray, sin: NDArray) -> NDArray:
    """x (B, N, T, D), cos and sin (B, T, D/2) -> y (B, N, T, D)."""
    cos, sin = cos[:, None], sin[:, None]
    first, second = np.split(x, 2, axis=-1)  # (B, N, T, D/2)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
