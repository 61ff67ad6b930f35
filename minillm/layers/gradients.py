"""Dictionaries of gradients, and parameters that are only partly trained."""

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from minillm.layers.types import Gradients, Params


def merge_gradients(*parts: Mapping[str, NDArray]) -> Gradients:
    """All gradients in one dictionary; several of one name (a weight with two uses) are added."""
    total: Gradients = {}
    for gradients in parts:
        for name, gradient in gradients.items():
            total[name] = total[name] + gradient if name in total else gradient
    return total


def prefixed(prefix: str, gradients: Mapping[str, NDArray]) -> Gradients:
    """The gradients of an inner model, under the names they have in the outer one."""
    return {prefix + name: gradient for name, gradient in gradients.items()}


class PartlyTrained(dict[str, Any]):
    """Parameters, and the names of the ones that are trained.

    A layer does no work for the gradient of any other weight, and a backward pass stops where no
    weight further down is trained.  The weights do not change: ops and kernels see the same arrays.
    """

    def __init__(self, params: Mapping[str, Any], trained: Collection[str]) -> None:
        super().__init__(params)
        self.trained = frozenset(trained)


def is_trained(params: Mapping[str, Any], *names: str) -> bool:
    """Whether one of the weights is trained, or any weight whose name continues one of the names.

    >>> is_trained(PartlyTrained({}, ["blocks.1.norm.gain"]), "blocks.0", "blocks.1")
    True
    """
    if not isinstance(params, PartlyTrained):
        return True
    return any(
        found == name or found.startswith(f"{name}.") for found in params.trained for name in names
    )


def under(params: Params, prefix: str) -> Params:
    """The parameters of an inner model, whose names begin with the prefix, without it."""
    start = len(prefix)
    inner = {name[start:]: weight for name, weight in params.items() if name.startswith(prefix)}
    if not isinstance(params, PartlyTrained):
        return inner
    return PartlyTrained(inner, [n[start:] for n in params.trained if n.startswith(prefix)])
