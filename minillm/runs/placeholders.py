"""A stand-in for random numbers, where a model is built only to have its weights read."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SPARE = 1000  # numbers that a model may draw and not keep


class Placeholders(np.random.Generator):
    """Draws zeros, and not many more of them than the stored weights have: InputError beyond.

    A size in a damaged configuration may ask for any memory; what is stored bounds it.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(np.random.PCG64(0))
        self.stored = sum(math.prod(shape) for shape in shapes.values())
        self.left = self.stored + SPARE

    def standard_normal(self, size=None, *args, **options):
        """Zeros."""
        return self._zeros(size)

    def normal(self, loc=0.0, scale=1.0, size=None):
        """Zeros."""
        return self._zeros(size)

    def uniform(self, low=0.0, high=1.0, size=None):
        """Zeros."""
        return self._zeros(size)

    def _zeros(self, size: int | tuple[int, ...] | None) -> NDArray | float:
        if size is None:
            return 0.0
        self.left -= math.prod(size) if isinstance(size, tuple) else size
        if self.left < 0:
            raise ValueError(f"its sizes ask for more than the {self.stored:,} weights stored")
        return np.zeros(size)
