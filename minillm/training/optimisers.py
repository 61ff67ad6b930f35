"""Gradient descent on dictionaries of arrays: SGD with momentum, Adam, AdamW, clipping.

An optimiser changes the parameters in place.  It keeps a reference to their dictionary, not copies
of the arrays.  With the decorator ``@optimiser``, it can be chosen in the settings of a run by its
name in lower case.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from minillm._kernels import twinned
from minillm.errors import short

Arrays = Mapping[str, np.ndarray]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Optimiser(Protocol):
    """An optimiser as the training loop sees it."""

    def step(self, grads: Arrays, learning_rate: float) -> None: ...

    def state(self) -> tuple[dict[str, np.ndarray], dict]: ...

    def restore(self, arrays: Arrays, values: dict) -> None: ...


OPTIMISERS: dict[str, Callable[..., Optimiser]] = {}
Made = TypeVar("Made", bound=Callable[..., Optimiser])


def optimiser(made: Made) -> Made:
    """Register a class of optimisers under its name in lower case."""
    OPTIMISERS[made.__name__.lower()] = made
    return made


def new_optimiser(name: str, params: Arrays, settings: Any) -> Optimiser:
    """An optimiser by name; its options are attributes of ``settings``."""
    _, *options = inspect.signature(OPTIMISERS[name]).parameters
    values = {option: getattr(settings, option) for option in options if hasattr(settings, option)}
    return OPTIMISERS[name](params, **values)


@optimiser
class SGD:
    """Stochastic gradient descent with momentum.

        v = momentum v + g
        p = p - learning_rate v

    Source: Polyak (1964); Sutskever et al. (2013).  As in PyTorch, g is not scaled by the rate
    before it enters v.
    """

    def __init__(self, params: Arrays, momentum: float = 0.9):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: expected at least 0 and below 1, found {momentum}")
        self._kinds = _kinds("params", params)
        _check("params", params, self._kinds)
        self.params = params
        self.momentum = momentum
        self.v = _zeros(params)

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """Take a step down ``grads``, which has the keys and shapes of the parameters."""
        _check_step(self._kinds, grads, learning_rate, params=self.params, v=self.v)
        for name, p in self.params.items():
            v = self.v[name]
            v *= self.momentum
            v += grads[name]
            p -= learning_rate * v

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The velocities, and no other values."""
        return {f"v.{name}": v for name, v in self.v.items()}, {}

    def restore(self, arrays: Arrays, values: dict) -> None:
        """Restore a result of :meth:`state`."""
        _restore(arrays, self._kinds, v=self.v)


@optimiser
class Adam:
    """Adam: steps of about the learning rate, whatever the scale of the gradient.

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p = p - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    m and v begin at 0.  The weights of t gradients in m sum to 1 - beta1^t, hence the divisions.

    Source: Kingma and Ba (2015), algorithm 1.
    """

    weight_decay = 0.0

    def __init__(
        self,
        params: Arrays,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ):
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name}: expected at least 0 and below 1, found {beta}")
        if not 0 < eps < math.inf:
            raise ValueError(f"eps: expected a finite number above 0, found {eps}")
        self._kinds = _kinds("params", params)
        _check("params", params, self._kinds)
        self.params = params
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.t = 0
        self.m, self.v = _zeros(params), _zeros(params)

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """Take a step down ``grads``, which has the keys and shapes of the parameters."""
        _check_step(self._kinds, grads, learning_rate, params=self.params, m=self.m, v=self.v)
        self.t += 1
        decay = 1 - learning_rate * self.weight_decay
        _adam_update(
            list(self.params.values()),
            [np.ascontiguousarray(grads[name]) for name in self.params],
            [self.m[name] for name in self.params],
            [self.v[name] for name in self.params],
            [decay if p.ndim > 1 else 1.0 for p in self.params.values()],
            beta1=self.beta1,
            beta2=self.beta2,
            step_size=learning_rate / (1 - self.beta1**self.t),
            root_correction=1 / math.sqrt(1 - self.beta2**self.t),
            eps=self.eps,
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The two moments, and the number of steps."""
        arrays = {f"m.{name}": m for name, m in self.m.items()}
        arrays |= {f"v.{name}": v for name, v in self.v.items()}
        return arrays, {"t": self.t}

    def restore(self, arrays: Arrays, values: dict) -> None:
        """Restore a result of :meth:`state`."""
        if type(values["t"]) is not int or not 0 <= values["t"] < 2**63:
            raise ValueError(f"t: expected a number of steps, found {short(values['t'])}")
        _restore(arrays, self._kinds, m=self.m, v=self.v)
        self.t = values["t"]


@twinned
def _adam_update(
    ps: list[np.ndarray],
    gs: list[np.ndarray],
    ms: list[np.ndarray],
    vs: list[np.ndarray],
    decays: list[float],
    beta1: float,
    beta2: float,
    step_size: float,
    root_correction: float,
    eps: float,
) -> None:
    """Take one step of Adam: change each array of ps and its moments, in ms and vs, in place.

    step_size is learning_rate / (1 - beta1^t), root_correction 1 / sqrt(1 - beta2^t).
    """
    for p, g, m, v, decay in zip(ps, gs, ms, vs, decays, strict=True):
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g**2
        p[...] = decay * p - step_size * m / (np.sqrt(v) * root_correction + eps)


@optimiser
class AdamW(Adam):
    """Adam with decoupled weight decay: p = (1 - learning_rate weight_decay) p before the step.

    Only matrices decay: biases and gains are left out.

    Source: Loshchilov and Hutter (2019), algorithm 2, with the decay scaled by the learning rate.
    """

    def __init__(
        self,
        params: Arrays,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, beta1, beta2, eps)
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay: expected a finite number from 0, found {weight_decay}")
        self.weight_decay = weight_decay


def clip_global_norm(grads: Arrays, maximum: float | None) -> float:
    """Scale ``grads`` in place so that their norm, as one long vector, is at most ``maximum``.

    Returns the norm before scaling.  Without a maximum, nothing is scaled.

    Raises ValueError before anything is scaled if an array cannot be changed, or would be scaled
    twice because it has two names.

    Source: Pascanu, Mikolov and Bengio (2013), algorithm 1.
    """
    if maximum is not None and not maximum > 0:
        raise ValueError(f"maximum: expected above 0, found {maximum}")
    for name, g in grads.items():
        _require_floats("grads", name, g)
        if maximum is not None and not g.flags.writeable:
            raise ValueError(
                f"grads[{name!r}]: expected an array that can be changed, found a read-only one"
            )
    _require_distinct(grads=grads)
    with np.errstate(over="ignore"):  # the norm is infinite then
        norm = math.sqrt(sum_of_squares([np.ascontiguousarray(g) for g in grads.values()]))
    if maximum is not None and maximum < norm < math.inf:
        scale(list(grads.values()), maximum / norm)
    return norm


@twinned
def sum_of_squares(gs: list[np.ndarray]) -> float:
    """Sum g^2 over all elements of all arrays."""
    return float(sum((g**2).sum() for g in gs))


@twinned
def scale(gs: list[np.ndarray], factor: float) -> None:
    """Multiply each array by factor, in place."""
    for g in gs:
        g *= factor


class _Kind(NamedTuple):
    """The shape and dtype that an array must have."""

    shape: tuple[int, ...]
    dtype: np.dtype


_Kinds = Mapping[str, _Kind]


def _kinds(argument: str, arrays: Arrays) -> dict[str, _Kind]:
    """The shape and dtype of each array.

    TypeError for an array without floats; ValueError for one with two names.
    """
    for name, array in arrays.items():
        _require_floats(argument, name, array)
    _require_distinct(**{argument: arrays})
    return {name: _Kind(array.shape, array.dtype) for name, array in arrays.items()}


def _check_step(kinds: _Kinds, grads: Arrays, learning_rate: float, **changed: Arrays) -> None:
    """Check the arguments of a step and the arrays that it changes, before it changes any.

    Each step checks all arrays, because the caller may have replaced any of them.
    """
    if not (isinstance(learning_rate, Real) and 0 <= learning_rate < math.inf):
        found = short(learning_rate)
        raise ValueError(f"learning_rate: expected a finite number from 0, found {found}")
    for argument, arrays in changed.items():
        _check(argument, arrays, kinds)
    _require_distinct(**changed)
    _check("grads", grads, kinds, changed=False)


def _check(argument: str, arrays: Arrays, kinds: _Kinds, changed: bool = True) -> None:
    """Check the names, shapes and dtypes of ``arrays``, and the layout of those that are changed.

    A kernel trusts all of these.  It would change a copy of an array in another layout.
    """
    if arrays.keys() != kinds.keys():
        odd = sorted(arrays.keys() ^ kinds.keys())
        raise ValueError(
            f"{argument}: expected the keys of the parameters, found a difference in {odd}"
        )
    for name, array in arrays.items():
        shape, dtype = kinds[name]
        _require_floats(argument, name, array)
        if array.shape != shape:
            raise ValueError(f"{argument}[{name!r}]: expected shape {shape}, found {array.shape}")
        if array.dtype != dtype:
            raise TypeError(f"{argument}[{name!r}]: expected {dtype}, found {array.dtype}")
        if changed and not ((flags := array.flags).c_contiguous and flags.writeable):
            raise ValueError(
                f"{argument}[{name!r}]: expected a C-contiguous array that can be changed"
            )


def _require_floats(argument: str, name: str, array: np.ndarray) -> None:
    """TypeError for anything but a NumPy array of float32 or float64."""
    plain = type(array) in (np.ndarray, np.memmap)  # not matrices or masked arrays
    if not plain or array.dtype not in _FLOATS:
        found = array.dtype if plain else type(array).__name__
        raise TypeError(
            f"{argument}[{name!r}]: expected a NumPy array of float32 or float64, found {found}"
        )


def _require_distinct(**groups: Arrays) -> None:
    """ValueError if one array has two names: a step or a scaling would change it twice."""
    owners = [
        id(a if a.base is None else a.base) for of_one in groups.values() for a in of_one.values()
    ]
    if len(set(owners)) == len(owners):
        return  # arrays can only overlap if the same object owns their memory
    labels: dict[int, str] = {}  # by the address of the first number
    for argument, arrays in groups.items():
        for name, array in arrays.items():
            if array.size == 0:
                continue
            label = f"{argument}[{name!r}]"
            other = labels.setdefault(array.__array_interface__["data"][0], label)
            if other != label:
                raise ValueError(
                    f"{other} and {label}: expected two arrays, found one: a tied weight has one "
                    "name, and the sum of its gradients"
                )


def _zeros(params: Arrays) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(p) for name, p in params.items()}


def _restore(arrays: Arrays, kinds: _Kinds, **moments: dict[str, np.ndarray]) -> None:
    """Copy a saved state into the moments, after a check of all its arrays."""
    saved = {prefix: {name: arrays[f"{prefix}.{name}"] for name in kinds} for prefix in moments}
    for prefix, of_one in saved.items():
        _check(prefix, of_one, kinds, changed=False)
    for prefix, of_one in saved.items():
        moments[prefix].update({name: array.copy() for name, array in of_one.items()})
