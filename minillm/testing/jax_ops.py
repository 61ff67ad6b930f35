"""A function of JAX as an op: one with ``jax.custom_vjp``, or any other."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from minillm.testing.calls import as_tuple, bare, is_float, named, zeros_for_none


def op_of_jax(function: Any) -> Callable[..., Any]:
    """An op that calls ``jax.vjp``, in the precision of its arrays."""

    def op(*args: Any) -> Any:
        places = [k for k, a in enumerate(args) if is_float(a)]

        def of_floats(*floats: Any) -> Any:
            given = dict(zip(places, floats, strict=True))
            return function(*(given.get(k, a) for k, a in enumerate(args)))

        with jax.enable_x64(True):
            result, pullback = jax.vjp(of_floats, *(args[k] for k in places))
        outputs = tuple(map(np.array, as_tuple(result)))

        def backward(*dys: Any) -> Any:
            with jax.enable_x64(True):
                upstream = tuple(map(jax.numpy.asarray, zeros_for_none(dys, outputs)))
                gradients = pullback(upstream if isinstance(result, tuple) else upstream[0])
            return bare(tuple(map(np.array, gradients)))

        return bare(outputs), backward

    return named(op, inspect.signature(function).parameters.values())
