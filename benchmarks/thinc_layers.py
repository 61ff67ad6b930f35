"""A layer of thinc, or of the same convention, as an op.

In thinc, ``layer(X, is_train)`` returns ``Y, backprop``, and ``backprop(dY)``
returns dX.  That is our convention but for the weights: a layer holds them, and its backprop adds
their gradients to those that it holds.  X and Y need not be arrays.  They may be lists or tuples of
arrays, or objects with an array ``data`` and its lengths, such as thinc's ``Ragged`` and
``Padded``.  This page needs no thinc: any object with the methods below is such a layer.
"""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError
from minillm.testing.calls import bare, is_float, kind, named, zeros_for_none

METHODS = ("walk", "get_param", "set_param", "get_grad", "set_grad")  # of a layer


def op_of_layer(layer: Any, X: Any) -> tuple[Callable[..., Any], tuple[NDArray, ...]]:
    """The op of an initialised layer, and its arguments in float64, for ``check_gradients``.

    The arguments are the arrays of floats in X, in order, followed by the weights of the layer and
    of all layers in it.  Whole numbers in X (ids, lengths) are fixed.  The outputs are the arrays
    of floats in Y.  The layer has its own weights again after each call.

        op, args = op_of_layer(Maxout(3, 4).initialize(), X)
        check_gradients(op, *args, rng=rng)

    InputError for what is no layer, and if there are floats neither in X nor in the weights.
    """
    missing = [name for name in METHODS if not callable(getattr(layer, name, None))]
    if missing or not callable(layer):
        raise InputError(
            f"expected a layer that can be called and has {', '.join(METHODS)}, "
            f"found {kind(layer)} without {', '.join(missing) or 'a call'}"
        )
    inputs, nodes = list(_floats(X)), list(layer.walk())
    weights = [(node, name) for node in nodes for name in node.param_names if node.has_param(name)]
    args = [*inputs, *(node.get_param(name) for node, name in weights)]
    if not args:
        raise InputError("expected an array of floats in X, or a layer with weights, found neither")

    @contextlib.contextmanager
    def weights_of_call(values: Sequence[NDArray]) -> Iterator[None]:
        own = [node.get_param(name) for node, name in weights]
        try:
            for (node, name), value in zip(weights, values, strict=True):
                node.set_param(name, value)
            yield
        finally:
            for (node, name), value in zip(weights, own, strict=True):
                node.set_param(name, value)

    def op(*given: Any) -> Any:
        values = given[len(inputs) :]
        with weights_of_call(values):
            Y, backprop = layer(_filled(X, given[: len(inputs)]), True)
        outputs = tuple(_floats(Y))
        if not outputs:
            raise InputError(f"expected an array of floats in the output, found {kind(Y)}")

        def backward(*dys: Any) -> Any:
            with weights_of_call(values):
                for (node, name), value in zip(weights, values, strict=True):
                    node.set_grad(name, np.zeros_like(value))
                dX = backprop(_filled(Y, zeros_for_none(dys, outputs)))
                of_weights = [node.get_grad(name) for node, name in weights]
            return bare((*(_floats(dX) if inputs else ()), *of_weights))

        return bare(outputs), named(backward, _parameters(_numbered("dY", len(outputs))))

    names = [f"{name}{'' if node is layer else f'_{nodes.index(node)}'}" for node, name in weights]
    return (
        named(op, _parameters(_numbered("X", len(inputs)) + names)),
        tuple(np.array(array, np.float64) for array in args),
    )


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{k}" for k in range(count)]


def _parameters(names: Sequence[str]) -> list[inspect.Parameter]:
    return [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]


# --- arrays in lists, tuples and objects ------------------------------------------------------


def _floats(value: Any) -> Iterator[NDArray]:
    """The arrays of floats in a value."""
    if is_float(value):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _floats(part)
    elif not isinstance(value, np.ndarray) and hasattr(value, "data"):
        yield from _floats(value.data)


def _filled(value: Any, arrays: Sequence[NDArray]) -> Any:
    """The value with other arrays in place of its own."""
    left = list(arrays)

    def fill(part: Any) -> Any:
        if is_float(part):
            return left.pop(0)
        if isinstance(part, (list, tuple)):
            return type(part)(fill(entry) for entry in part)
        if not isinstance(part, np.ndarray) and hasattr(part, "data"):
            other = copy.copy(part)
            other.data = fill(part.data)
            return other
        return part

    return fill(value)
