"""Count the multiplications in products of matrices: what the order of three factors costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_counts: list[int] = []


@contextmanager
def multiplications() -> Iterator[list[int]]:
    """Yield a list, and add the multiplications of each product of counted arrays to it."""
    global _counts
    before, _counts = _counts, []
    try:
        yield _counts
    finally:
        _counts = before


def counted(value: Any) -> Any:
    """A copy of an array; its products, and the products of all results, are counted."""
    return np.array(value).view(_Counted) if isinstance(value, np.ndarray) else value


class _Counted(np.ndarray):
    """An array that notes the multiplications of ``@``, ``np.dot`` and ``np.einsum``."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:
            options["out"] = tuple(_plain(out) for out in options["out"])
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        if ufunc is np.matmul:
            _counts.append(int(np.size(result) * inputs[0].shape[-1]))
        return result.view(_Counted) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        result = super().__array_function__(function, types, args, options)
        if function is np.dot:
            _counts.append(int(np.size(result) * np.shape(args[0])[-1]))
        if function is np.einsum:
            letters = "".join(c for c in args[0].partition("->")[0] if c.isalpha() or c == ",")
            sizes: dict[str, int] = {}
            for part, array in zip(letters.split(","), args[1:], strict=True):
                sizes |= dict(zip(part, array.shape, strict=True))
            _counts.append(int(np.prod(list(sizes.values()))))
        return result

    def dot(self, other: Any, out: Any = None) -> Any:
        return np.dot(self, other)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, _Counted) else value
