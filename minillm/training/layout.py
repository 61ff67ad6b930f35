"""Checks of the arrays that an optimiser changes in place.

Each step checks all of its arrays, because the caller may have replaced any of them.  A kernel
trusts this check: it would write beyond the end of a smaller array, and change a copy of an array
whose memory has another order.
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from minillm.errors import short

Arrays = Mapping[str, np.ndarray]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_ARRAYS = (np.ndarray, np.memmap)  # not matrices or masked arrays


class Layout:
    """The names, shapes and dtypes of parameters, which gradients and moments share.

    TypeError unless every parameter is an array of floats; ValueError if one array appears twice,
    because a step would change it twice, or if one cannot be changed in place.
    """

    def __init__(self, params: Arrays):
        require_floats("params", params)
        owners: dict[int, str] = {}  # by the address of the first number
        for name, p in params.items():
            address = p.__array_interface__["data"][0] if p.size else id(p)
            if (other := owners.setdefault(address, name)) != name:
                raise ValueError(
                    f"params[{other!r}] and params[{name!r}]: expected two arrays, found one: "
                    "a tied weight has one name, and the sum of its gradients"
                )
        self.expected = {name: (p.shape, p.dtype) for name, p in params.items()}
        self.check("params", params)

    def zeros(self) -> dict[str, np.ndarray]:
        """New moments."""
        return {name: np.zeros(shape, dtype) for name, (shape, dtype) in self.expected.items()}

    def check(self, argument: str, arrays: Arrays, changed: bool = True) -> None:
        """Check names, shapes and dtypes, and of arrays that are changed also their memory."""
        if arrays.keys() != self.expected.keys():
            odd = sorted(arrays.keys() ^ self.expected.keys())
            raise ValueError(
                f"{argument}: expected the keys of the parameters, found a difference in {odd}"
            )
        for name, (shape, dtype) in self.expected.items():
            array = arrays[name]
            if type(array) not in _ARRAYS or array.dtype != dtype:
                require_floats(argument, {name: array})
                raise TypeError(f"{argument}[{name!r}]: expected {dtype}, found {array.dtype}")
            if array.shape != shape:
                raise ValueError(
                    f"{argument}[{name!r}]: expected shape {shape}, found {array.shape}"
                )
            if changed and not array.flags.carray:  # also aligned
                raise ValueError(
                    f"{argument}[{name!r}]: expected a C-contiguous array that can be changed"
                )

    def copies(self, saved: Arrays, prefix: str) -> dict[str, np.ndarray]:
        """Copies of the saved arrays of one moment, such as "v.W", after a check."""
        arrays = {name: saved[f"{prefix}.{name}"] for name in self.expected}
        self.check(prefix, arrays, changed=False)
        return {name: array.copy() for name, array in arrays.items()}


def require_from_zero(name: str, value: Any) -> None:
    """ValueError unless the value is a finite number from 0."""
    if not (isinstance(value, Real) and 0 <= float(value) < math.inf):
        raise ValueError(f"{name}: expected a finite number from 0, found {short(value)}")


def require_floats(argument: str, arrays: Arrays) -> None:
    """TypeError for anything but NumPy arrays of float32 or float64."""
    for name, array in arrays.items():
        plain = type(array) in _ARRAYS
        if not plain or array.dtype not in _FLOATS:
            found = array.dtype if plain else type(array).__name__
            raise TypeError(
                f"{argument}[{name!r}]: expected a NumPy array of float32 or float64, found {found}"
            )
