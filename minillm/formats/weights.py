"""The map from our parameters to the tensors of other programs: names and columns.

Other programs have separate matrices for query, key and value, and for gate and up.  Ours are side
by side, along the last axis.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short

_LAYER = re.compile(r"\.(\d+)\.")
Names = Mapping[str, str | tuple[str, ...]]  # of tensors: ours, theirs


@dataclass(frozen=True)
class Weight:
    """One of our parameters, and the tensors of another program that it consists of."""

    name: str
    shape: tuple[int, ...]
    columns: Mapping[str, slice]  # of our parameter, by the name of the tensor
    transposed: bool = False  # our parameter contains the transpose of each tensor

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        shapes = {n: (*self.shape[:-1], c.stop - c.start) for n, c in self.columns.items()}
        return {n: shape[::-1] if self.transposed else shape for n, shape in shapes.items()}

    def views(self, array: NDArray) -> dict[str, NDArray]:
        """The tensors as views of our parameter."""
        views = {name: array[..., columns] for name, columns in self.columns.items()}
        return {name: view.T if self.transposed else view for name, view in views.items()}


def weights_of(
    shapes: Mapping[str, tuple[int, ...]],
    names: Names,
    transposed: bool,
    widths: Mapping[str, tuple[int, ...]] | None = None,
) -> Iterator[Weight]:
    """Yield the parameters of a model, with their tensors by ``names``: ours, theirs.

    In the names, * is the number of a layer.  ``widths`` has the number of columns of each tensor,
    by the last part of our name, if there are several; other tensors share the columns equally.
    With ``transposed``, all matrices except tables are transposed.
    """
    for name, shape in shapes.items():
        layer = _LAYER.search(name)
        theirs = names[_LAYER.sub(".*.", name)]
        theirs = (theirs,) if isinstance(theirs, str) else theirs
        sizes = (shape[-1] // len(theirs),) * len(theirs)
        if widths and len(theirs) > 1:
            sizes = widths.get(name.split(".")[-1], sizes)
        ends = np.cumsum([0, *sizes]).tolist()
        tensors = [tensor.replace("*", layer[1] if layer else "") for tensor in theirs]
        columns = dict(zip(tensors, map(slice, ends, ends[1:]), strict=True))
        yield Weight(name, shape, columns, transposed and not name.endswith(".E"))


def tensor_of(
    place: Path, tensors: Mapping[str, Any], name: str, shape: tuple[int, ...] | None = None
) -> Any:
    """A tensor of a file, of either format; InputError unless it is there and has this shape."""
    if name not in tensors:
        raise InputError(f"{place}: the tensor {name} is missing from the weights")
    found = tensors[name]
    if shape not in (None, found.shape):
        raise InputError(f"{found.path}: {name}: expected shape {shape}, found {found.shape}")
    return found


def check_tensors(
    place: Path, tensors: Mapping[str, Any], weights: Iterable[Weight], others: str
) -> None:
    """InputError for a tensor that is missing or has another shape, or for an unknown one.

    ``others`` is a pattern of the names of tensors that are not among the weights.
    """
    known = {name: shape for weight in weights for name, shape in weight.shapes().items()}
    for name, shape in known.items():
        tensor_of(place, tensors, name, shape)
    for name, tensor in tensors.items():
        if name not in known and not re.fullmatch(others, name):
            raise InputError(f"{tensor.path}: {short(name)}: the model has no tensor of this name")


def every(marked: Sequence[bool], expected: int) -> int | None:
    """n, if exactly every n-th layer is marked: ``expected``, if that is true of it.

    None if there is no such n.  Where no layer is marked, n is above the number of layers.
    """
    layers = len(marked)
    first = marked.index(True) if True in marked else layers
    for n in (expected, first + 1):
        if n > 0 and list(marked) == [(layer + 1) % n == 0 for layer in range(layers)]:
            return n
    return None
