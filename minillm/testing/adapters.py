"""Ops out of whatever has a backward written by hand: classes, pairs, PyTorch, JAX.

``as_op`` finds out what it was given, and returns a function of the convention,
``op(*args) -> output, backward``, which ``check_gradients`` can check.  PyTorch and JAX
are not imported unless something of theirs is given.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minillm.errors import InputError, short
from minillm.testing.calls import as_tuple, kind


def as_op(thing: Any) -> Callable[..., Any]:
    """Return a function whose call returns its output and its backward.

    ``thing`` is one of these:

    - Such a function.  It is returned as it is.  If it needs an argument ``rng``, each call gets a
      fresh generator, the same one each time.
    - A pair of functions.  Either ``forward(x, W)`` returns ``y, cache``, and the other is
      ``backward(dy, cache)``; or ``forward`` returns ``y``, and it is ``backward(dy, x, W)``.
    - An object with methods ``forward(x)`` and ``backward(dy)``.
    - A class of such objects.  Each call makes a new one.  What its constructor needs are further
      arguments, after those of ``forward``, and their gradients are its attributes: ``dW`` for
      ``W``.
    - A subclass of ``torch.autograd.Function``.
    - A ``jax.custom_vjp`` function, or another function of JAX (0.8 or newer).

    InputError if it is none of them.
    """
    if isinstance(thing, tuple) and len(thing) == 2 and all(map(callable, thing)):
        return _of_pair(*thing)
    if inspect.isclass(thing) and any(map(_is_function_of_torch, thing.__mro__)):
        return _of_torch(thing)
    if _room(type(thing)) in ("jax", "jaxlib"):
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

    return _named(seeded, [p for p in signature.parameters.values() if p is not rng])


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
            return backward(*_zeros_for_none(dys, outputs), *kept)

        return _bare(outputs), _known_as(backward_kept, backward, len(outputs))

    return _named(op, inspect.signature(forward).parameters.values())


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
            gradients = as_tuple(state.backward(*_zeros_for_none(dys, outputs)))
            weights = [p.name for p, a in zip(own, args[split:], strict=True) if _is_float(a)]
            return _bare((*gradients, *(_attribute(state, f"d{name}") for name in weights)))

        return result, _known_as(backward, layer.backward, len(outputs))

    return _named(op, [*_required(of_forward), *own] if own else of_forward)


def _attribute(layer: Any, name: str) -> Any:
    try:
        return getattr(layer, name)
    except AttributeError:
        raise InputError(
            f"{type(layer).__name__}: expected the gradient of {name[1:]}, which its constructor "
            f"takes, in the attribute {name} after backward, found none"
        ) from None


# --- other libraries --------------------------------------------------------------------


def _of_torch(function: Any) -> Callable[..., Any]:
    import torch  # the caller has it, and it takes 1,500 ms

    def op(*args: Any) -> Any:
        tensors = [
            torch.tensor(a, requires_grad=_is_float(a)) if isinstance(a, np.ndarray) else a
            for a in args
        ]
        inputs = [x for x in tensors if isinstance(x, torch.Tensor) and x.requires_grad]
        result = function.apply(*tensors)
        outputs = as_tuple(result)

        def backward(*dys: Any) -> Any:
            # PyTorch makes zeros for outputs that are left out.
            pairs = [
                (y, torch.tensor(np.asarray(dy)))
                for y, dy in zip(outputs, dys, strict=True)
                if dy is not None and y.requires_grad
            ]
            ys, upstream = [y for y, _ in pairs], [dy for _, dy in pairs]
            gradients: Any = [None] * len(inputs)
            if ys:
                options = {"retain_graph": True, "allow_unused": True}
                gradients = torch.autograd.grad(ys, inputs, upstream, **options)
            found = [
                torch.zeros_like(x) if dx is None else dx
                for x, dx in zip(inputs, gradients, strict=True)
            ]
            return _bare(tuple(dx.detach().numpy().copy() for dx in found))

        known = _known_as(backward, function.backward, len(outputs), first=1)  # without ctx
        return _bare(tuple(y.detach().numpy().copy() for y in outputs)), known

    parameters = list(inspect.signature(function.forward).parameters.values())
    separate = function.setup_context is not torch.autograd.Function.setup_context
    return _named(op, parameters if separate else parameters[1:])


def _of_jax(function: Any) -> Callable[..., Any]:
    import jax  # the caller has it, and it takes 500 ms

    def op(*args: Any) -> Any:
        places = [k for k, a in enumerate(args) if _is_float(a)]

        def of_floats(*floats: Any) -> Any:
            given = dict(zip(places, floats, strict=True))
            return function(*(given.get(k, a) for k, a in enumerate(args)))

        with jax.enable_x64(True):
            result, pullback = jax.vjp(of_floats, *(args[k] for k in places))
        outputs = tuple(np.array(y) for y in as_tuple(result))

        def backward(*dys: Any) -> Any:
            with jax.enable_x64(True):
                upstream = tuple(map(jax.numpy.asarray, _zeros_for_none(dys, outputs)))
                gradients = pullback(upstream if isinstance(result, tuple) else upstream[0])
            return _bare(tuple(np.array(dx) for dx in gradients))

        return _bare(outputs), backward

    return _named(op, inspect.signature(function).parameters.values())


# --- shared parts -----------------------------------------------------------------------


def _named(op: Callable, parameters: Iterable[inspect.Parameter]) -> Callable[..., Any]:
    """The op with the parameters that messages name."""
    # Attributes that mypy does not know of functions; inspect reads them, and so do the messages.
    op.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    return op


def _known_as(call: Callable, backward: Callable, count: int, first: int = 0) -> Callable[..., Any]:
    """A call of the author's backward, whose lines and parameters of gradients messages name."""
    call.__wrapped__ = backward  # type: ignore[attr-defined]
    parameters = list(inspect.signature(backward).parameters.values())
    return _named(call, parameters[first : first + count])


def _required(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    positional = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p for p in parameters if p.kind in positional and p.default is p.empty]


def _zeros_for_none(dys: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    """The upstream gradients, with zeros in place of None."""
    return [np.zeros_like(y) if dy is None else dy for dy, y in zip(dys, outputs, strict=True)]


def _is_function_of_torch(cls: type) -> bool:
    return _room(cls) == "torch" and cls.__name__ == "Function"


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _room(cls: type) -> str:
    """The package of a class."""
    return cls.__module__.partition(".")[0]


def _bare(results: tuple) -> Any:
    return results[0] if len(results) == 1 else results
