"""Ops out of whatever has a backward written by hand: pairs of functions, classes, objects.

``as_op`` finds out what it was given, and returns a function of the convention,
``op(*args) -> output, backward``, which ``check_gradients`` can check.  PyTorch and JAX are not
imported unless something of theirs is given.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minillm.errors import InputError, short
from minillm.testing.calls import (
    as_tuple,
    bare,
    is_float,
    kind,
    known_as,
    named,
    zeros_for_none,
)


def as_op(thing: Any) -> Callable[..., Any]:
    """A function whose call returns its output and its backward.

    ``thing`` is one of these:

    - Such a function.  It is returned as it is.  If it needs an argument ``rng``, each call gets a
      fresh generator, the same one each time.
    - A pair of functions.  Either ``forward(x, W)`` returns ``y, cache``, and the other is
      ``backward(dy, cache)``; or ``forward`` returns ``y``, and it is ``backward(dy, x, W)``.
    - An object with methods ``forward(x)`` and ``backward(dy)``.
    - A class of such objects.  Each call makes a new one.  What its constructor needs are further
      arguments after the arguments of ``forward``; their gradients are its attributes, ``dW`` for
      ``W``.
    - A subclass of ``torch.autograd.Function``.
    - A ``jax.custom_vjp`` function, or another function of JAX (0.8 or newer).

    InputError if it is none of them.
    """
    if isinstance(thing, tuple) and len(thing) == 2 and all(map(callable, thing)):
        return _of_pair(*thing)
    if inspect.isclass(thing) and any(map(_is_function_of_torch, thing.__mro__)):
        return _of_torch(thing)
    if _package(type(thing)) in ("jax", "jaxlib"):
        return _of_jax(thing)
    if all(callable(getattr(thing, name, None)) for name in ("forward", "backward")):
        return _of_methods(thing)
    if not callable(thing) or inspect.isclass(thing):
        raise InputError(
            "expected a function that returns its output and its backward, a pair of functions, "
            f"or a class with forward and backward, found {short(thing)}"
        )
    return _of_function(thing)


def name_of(thing: Any) -> str:
    """The name of a thing in code, such as ``affine`` or ``(affine, affine_backward)``."""
    if isinstance(thing, tuple):
        return f"({', '.join(map(name_of, thing))})"
    name = getattr(thing, "__name__", "op")
    return name if name.isidentifier() else "op"


# --- functions, pairs, classes ----------------------------------------------------------


def _of_function(op: Callable) -> Callable[..., Any]:
    try:
        signature = inspect.signature(op)
    except ValueError:  # a function in C
        return op
    rng = signature.parameters.get("rng")
    if rng is None or rng.default is not rng.empty:
        return op

    @functools.wraps(op)
    def seeded(*args: Any) -> Any:
        return op(*args, rng=np.random.default_rng(0))

    return named(seeded, [p for p in signature.parameters.values() if p is not rng])


def _of_pair(forward: Callable, backward: Callable) -> Callable[..., Any]:
    count = len(_required(inspect.signature(backward).parameters.values()))

    def op(*args: Any) -> Any:
        result = forward(*args)
        outputs = as_tuple(result)
        if isinstance(result, tuple) and count == len(result):
            outputs, kept = result[:-1], result[-1:]
        elif count == len(outputs) + len(args):
            kept = args
        else:
            raise InputError(
                f"{name_of(backward)}: expected (dy, cache), where the forward returns y and a "
                f"cache, or (dy, x, ...) with the {len(args)} arguments of the forward; "
                f"found {count} parameters, and a forward that returns {kind(result)}"
            )

        def backward_kept(*dys: Any) -> Any:
            return backward(*zeros_for_none(dys, outputs), *kept)

        return bare(outputs), known_as(backward_kept, backward, len(outputs))

    return named(op, inspect.signature(forward).parameters.values())


def _of_methods(thing: Any) -> Callable[..., Any]:
    is_class = inspect.isclass(thing)
    of_forward = list(inspect.signature(thing.forward).parameters.values())
    of_forward = of_forward[1:] if is_class else of_forward  # without self
    own = _required(inspect.signature(thing).parameters.values()) if is_class else []

    def op(*args: Any) -> Any:
        split = len(args) - len(own)
        layer = thing(*args[split:]) if is_class else copy.deepcopy(thing)
        result = layer.forward(*args[:split])
        outputs = as_tuple(result)

        def backward(*dys: Any) -> Any:
            state = copy.deepcopy(layer)  # a backward may add to the gradients of its object
            gradients = as_tuple(state.backward(*zeros_for_none(dys, outputs)))
            weights = [p.name for p, a in zip(own, args[split:], strict=True) if is_float(a)]
            return bare((*gradients, *(_attribute(state, f"d{name}") for name in weights)))

        return result, known_as(backward, layer.backward, len(outputs))

    return named(op, [*_required(of_forward), *own] if own else of_forward)


def _attribute(layer: Any, name: str) -> Any:
    try:
        return getattr(layer, name)
    except AttributeError:
        raise InputError(
            f"{type(layer).__name__}: expected the gradient of {name[1:]}, which its constructor "
            f"takes, in the attribute {name} after backward, found none"
        ) from None


def _required(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    positional = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p for p in parameters if p.kind in positional and p.default is p.empty]


def _is_function_of_torch(cls: type) -> bool:
    return _package(cls) == "torch" and cls.__name__ == "Function"


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


# --- PyTorch and JAX --------------------------------------------------------------------


def _of_torch(function: Any) -> Callable[..., Any]:
    """An op that calls ``function.apply``, in the precision of its arrays."""
    import torch  # 1,500 ms

    def op(*args: Any) -> Any:
        given = [
            torch.tensor(a, requires_grad=is_float(a)) if isinstance(a, np.ndarray) else a
            for a in args
        ]
        inputs = [x for x, a in zip(given, args, strict=True) if is_float(a)]
        outputs = as_tuple(function.apply(*given))

        def backward(*dys: Any) -> Any:
            # PyTorch makes zeros for outputs that are left out.
            pairs = [
                (y, torch.tensor(np.asarray(dy)))
                for y, dy in zip(outputs, dys, strict=True)
                if dy is not None and y.requires_grad
            ]
            if not pairs:
                return bare(tuple(np.zeros_like(a) for a in args if is_float(a)))
            ys, upstream = zip(*pairs, strict=True)
            options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
            gradients = torch.autograd.grad(ys, inputs, upstream, **options)
            return bare(tuple(dx.numpy().copy() for dx in gradients))

        known = known_as(backward, function.backward, len(outputs), first=1)  # without ctx
        return bare(tuple(y.detach().numpy().copy() for y in outputs)), known

    parameters = list(inspect.signature(function.forward).parameters.values())
    separate = function.setup_context is not torch.autograd.Function.setup_context
    return named(op, parameters if separate else parameters[1:])


def _of_jax(function: Any) -> Callable[..., Any]:
    """An op that calls ``jax.vjp``, in the precision of its arrays."""
    import jax  # 500 ms

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
