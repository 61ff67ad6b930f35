"""Dictionaries of gradients: merging, and selecting the weights that are trained.

A backward may be given ``trained``, the names of the trained weights, to save work; None means
all.  It returns the gradients of these weights, and may return others too.
"""

from collections.abc import Collection, Mapping

from numpy.typing import NDArray

Trained = Collection[str] | None


def merge_gradients(*parts: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """All gradients in one dictionary; several of one name (a weight with two uses) are added."""
    total: dict[str, NDArray] = {}
    for gradients in parts:
        for name, gradient in gradients.items():
            total[name] = total[name] + gradient if name in total else gradient
    return total


def prefixed(prefix: str, gradients: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The gradients of an inner model, under the names they have in the outer one."""
    return {prefix + name: gradient for name, gradient in gradients.items()}


def any_trained(trained: Trained, *prefixes: str) -> bool:
    """Whether any weight with one of these prefixes is trained; if not, a backward may stop."""
    return trained is None or any(name.startswith(prefixes) for name in trained)


def trained_within(trained: Trained, prefix: str) -> Trained:
    """The names of the trained weights of an inner model, without the prefix."""
    if trained is None:
        return None
    return {name.removeprefix(prefix) for name in trained if name.startswith(prefix)}
