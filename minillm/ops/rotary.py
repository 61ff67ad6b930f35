"""Rotary position embedding."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned


class RotaryScaling(NamedTuple):
    """Llama 3's change of the angles, for texts longer than in training.

    A pair turns original_context theta_i / (2 pi) times in a text of the old length.  Where that
    is ``high_frequency_factor`` or more, its angle tells near positions apart and stays.  Where it
    is ``low_frequency_factor`` or less, the angle is divided by ``factor``, so that a text that is
    longer by this factor has no angles that the training has not seen.  Between the two, it is a
    mixture:

        s = (turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor)
        theta_i = s theta_i + (1 - s) theta_i / factor        s limited to 0 .. 1

    Sources: Chen et al. (2023), "Extending context window of large language models via positional
    interpolation", for the division; Peng et al. (2023), "YaRN", section 3.2, for the mixture; the
    form is taken from Meta's published code of Llama 3.1.
    """

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context: float


def rotary(
    x: NDArray,
    positions: NDArray[np.integer],
    base: float = 10000.0,
    scaling: RotaryScaling | None = None,
) -> tuple[NDArray, Callable]:
    """Rotate each pair of numbers of a query or a key by an angle proportional to its position.

        theta_i = base^(-2 i / D)        angle_i = position theta_i        i = 0 .. D/2 - 1
        y_i         = x_i cos(angle_i) - x_{i + D/2} sin(angle_i)
        y_{i + D/2} = x_i sin(angle_i) + x_{i + D/2} cos(angle_i)

    x (B, N, T, D) with an even D, positions (B, T) from 0 up -> y (B, N, T, D).
    ``backward(dy)`` -> dx.  Keeps the cosines and sines, (B, T, D/2).  With ``scaling``, the
    theta_i are changed as :class:`RotaryScaling` says.

    The product of a rotated query and a rotated key depends only on the distance between
    their positions.  The backward of a rotation is the rotation by the opposite angle.

    Raises TypeError or ValueError where dtypes or shapes do not fit, D is odd, a
    position is negative or base is not positive.
    Source: Su, Lu, Pan, Murtadha, Wen and Liu (2021), "RoFormer: enhanced transformer
    with rotary position embedding", equation 15.  There a pair is x_{2i}, x_{2i + 1};
    here it is x_i, x_{i + D/2}, as in the weights of GPT-NeoX and Llama.
    """
    B, _, T, D = checks.floats("rotary", x=(x, "B N T D")).values()
    if D % 2 == 1:
        raise ValueError(f"rotary: x: expected an even D, found shape {x.shape}")
    base = checks.positive("rotary", "base", base)
    places = checks.ids("rotary", "positions", positions, 2**53, (B, T))
    cos, sin = _cos_and_sin(places.tobytes(), (B, T), D, base, scaling, x.dtype)
    y = rotary_rotation(checks.strided(x), cos, sin)
    upstream = checks.upstream("rotary", "K", dy=y)

    def backward(dy):
        return rotary_rotation(checks.strided(upstream(dy)), cos, -sin)

    return y, backward


def frequencies(D: int, base: float, scaling: RotaryScaling | None = None) -> NDArray:
    """The angle theta_i by which each pair turns from one position to the next, (D/2,)."""
    theta = base ** (-2 * np.arange(D // 2) / D)
    if scaling is None:
        return theta
    factor, low, high, context = scaling
    s = np.clip((context * theta / (2 * np.pi) - low) / (high - low), 0, 1)
    return s * theta + (1 - s) * theta / factor


# Queries and keys of all layers are at the same positions.  Computed anew for each, these numbers
# took 1 to 24 % of the time of reading a batch, and up to 4 % of a step of training.
@lru_cache(maxsize=2)
def _cos_and_sin(
    positions: bytes,
    shape: tuple[int, int],
    D: int,
    base: float,
    scaling: RotaryScaling | None,
    dtype: np.dtype,
) -> tuple[NDArray, NDArray]:
    """The cosines and sines of all angles, (B, T, D/2) each, for int64 positions (B, T)."""
    places = np.frombuffer(positions, np.int64).reshape(shape)
    angles = places[:, :, None] * frequencies(D, base, scaling)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


@twinned
def rotary_rotation(x: NDArray, cos: NDArray, sin: NDArray) -> NDArray:
    """x (B, N, T, D), cos and sin (B, T, D/2) -> y (B, N, T, D)."""
    cos, sin = cos[:, None], sin[:, None]
    first, second = np.split(x, 2, axis=-1)  # (B, N, T, D/2)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
