"""Dictionaries of gradients: how they are merged, and which of them somebody wants.

A backward may be given ``trained``, the names of the weights that are trained, to save work; None
means all.  It returns their gradients, and may return others too.
"""

from collections.abc import Collection, Mapping

from numpy.typing import NDArray

Trained = Collection[str] | None


def merge_gradients(*parts: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """All gradients in one dictionary; those of one name, of a weight with two uses, are added."""
    total: dict[str, NDArray] = {}
    for gradients in parts:
        for name, gradient in gradients.items():
            total[name] = total[name] + gradient if name in total else gradient
    return total


def prefixed(prefix: str, gradients: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The gradients of a model within another one, by the names that they have there."""
    return {prefix + name: gradient for name, gradient in gradients.items()}


def any_trained(trained: Trained, *prefixes: str) -> bool:
    """Whether a weight is trained whose name begins with one of these: if not, stop above them."""
    return trained is None or any(name.startswith(prefixes) for name in trained)


def trained_within(trained: Trained, prefix: str) -> Trained:
    """The names of the trained weights of a model within another one, as it names them itself."""
    if trained is None:
        return None
    return {name.removeprefix(prefix) for name in trained if name.startswith(prefix)}
