"""The map from our parameters to the tensors of other programs: names and columns.

Other programs have separate matrices for query, key and value, and for gate and up.  Ours are side
by side, along the last axis.

A module of theirs has a ``weight`` and perhaps a ``bias``.  So a table of names has a row for each
of our layers: its W, E or gain is the weight of their module, its b or bias the bias, and W_qkv and
b_qkv of ``attention`` are the layer ``attention.qkv``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from minillm.errors import InputError, short

_LAYER = re.compile(r"\.(\d+)\.")
# Our layer, or a parameter that is no weight or bias; their module or modules, or the tensor.
# * is the number of a layer.
Names = Mapping[str, str | tuple[str, ...]]
TABLES = (".E",)


@dataclass(frozen=True)
class Weight:
    """One of our parameters, and the tensors of another program that it consists of."""

    name: str
    shape: tuple[int, ...]
    columns: Mapping[str, slice]  # of our parameter, by the name of the tensor
    transposed: bool = False  # our parameter contains the transpose of each tensor
    filters: bool = False  # theirs are (E, 1, K), as PyTorch has them; ours are (K, E)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        sizes = {name: columns.stop - columns.start for name, columns in self.columns.items()}
        shapes = {name: (*self.shape[:-1], size) for name, size in sizes.items()}
        turned = {n: shape[::-1] if self.transposed else shape for n, shape in shapes.items()}
        return {n: (s[0], 1, *s[1:]) if self.filters else s for n, s in turned.items()}

    def views(self, array: NDArray) -> dict[str, NDArray]:
        """The tensors as views of our parameter."""
        views = {name: array[..., columns] for name, columns in self.columns.items()}
        turned = {name: view.T if self.transposed else view for name, view in views.items()}
        return {name: view[:, None] if self.filters else view for name, view in turned.items()}


def tensors_of(names: Names, name: str) -> tuple[str, ...]:
    """The tensors that one of our parameters consists of.

    >>> tensors_of({"norm": "ln_f", "attention.qkv": ("query", "key", "value")}, "attention.b_qkv")
    ('query.bias', 'key.bias', 'value.bias')
    """
    layer, _, parameter = name.rpartition(".")
    kind, _, part = parameter.partition("_")
    modules = names[name if name in names else f"{layer}.{part}" if part else layer]
    end = "" if name in names else ".bias" if kind in ("b", "bias") else ".weight"
    return tuple(f"{one}{end}" for one in ((modules,) if isinstance(modules, str) else modules))


def weights_of(
    shapes: Mapping[str, tuple[int, ...]],
    names: Names,
    config: Any,
    as_theirs: tuple[str, ...] = TABLES,
    filters: tuple[str, ...] = (),
) -> Iterator[Weight]:
    """Yield the parameters of a model, each with its tensors.

    All are transposed, except for names with an ending of ``as_theirs``; vectors have no second
    axis.  ``filters`` has the endings of names of convolutions.  Three tensors side by side are
    queries, keys and values, and keys may have fewer heads.
    """
    keys = getattr(config, "key_heads", 0)
    for name, shape in shapes.items():
        layer = _LAYER.search(name)
        theirs = tensors_of(names, _LAYER.sub(".*.", name))
        shares = (config.heads, keys, keys) if keys and len(theirs) == 3 else (1,) * len(theirs)
        ends = [shape[-1] // sum(shares) * n for n in accumulate(shares, initial=0)]
        tensors = [tensor.replace("*", layer[1] if layer else "") for tensor in theirs]
        columns = dict(zip(tensors, map(slice, ends, ends[1:]), strict=True))
        yield Weight(name, shape, columns, not name.endswith(as_theirs), name.endswith(filters))


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
