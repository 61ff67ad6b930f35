"""Gradient descent on dictionaries of arrays: SGD with momentum, Adam, AdamW, clipping.

An optimiser changes the parameters in place.  It keeps a reference to the dictionary that
it was made with, not copies of the arrays.
"""

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from minillm._kernels import twinned
from minillm.errors import short

Arrays = Mapping[str, np.ndarray]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Optimiser(Protocol):
    """What the training loop needs of an optimiser."""

    def step(self, grads: Arrays, learning_rate: float) -> None: ...

    def state(self) -> tuple[dict[str, np.ndarray], dict]: ...

    def restore(self, arrays: Arrays, values: dict) -> None: ...


class SGD:
    """Stochastic gradient descent with momentum.

        v = momentum v + g
        p = p - learning_rate v

    Source: Polyak (1964); in the form of Sutskever et al. (2013) without its scaling of g, which
    is PyTorch's.
    """

    def __init__(self, params: Arrays, momentum: float = 0.9):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: expected at least 0 and below 1, found {momentum}")
        self.params = _checked(params)
        self.momentum = momentum
        self.v = _zeros(params)

    def __repr__(self) -> str:
        return f"<SGD momentum {self.momentum:g}: {_size(self.params)}>"

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """One step down ``grads``, which has the keys and shapes of the parameters."""
        _check_step(self.params, grads, self.v)
        for name, p in self.params.items():
            v = self.v[name]
            v *= self.momentum
            v += grads[name]
            p -= learning_rate * v

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The velocities, and no other values."""
        return {f"v.{name}": v for name, v in self.v.items()}, {}

    def restore(self, arrays: Arrays, values: dict) -> None:
        """Restores what :meth:`state` returned."""
        _copy_into(self.v, "v.", arrays)


class Adam:
    """Adam: steps of about the learning rate, whatever the gradient's scale.

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p = p - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    Source: Kingma and Ba (2015), algorithm 1.
    """

    weight_decay = 0.0

    def __init__(
        self,
        params: Arrays,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ):
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name}: expected at least 0 and below 1, found {beta}")
        if not epsilon > 0:
            raise ValueError(f"epsilon: expected above 0, found {epsilon}")
        self.params = _checked(params)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.t = 0
        self.m, self.v = _zeros(params), _zeros(params)

    def __repr__(self) -> str:
        decay = f", weight decay {self.weight_decay:g}" if self.weight_decay else ""
        betas = f"beta1 {self.beta1:g}, beta2 {self.beta2:g}"
        return f"<{type(self).__name__} {betas}{decay}: {_size(self.params)}>"

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """One step down ``grads``, which has the keys and shapes of the parameters."""
        _check_step(self.params, grads, self.m)
        self.t += 1
        step_size = learning_rate / (1 - self.beta1**self.t)
        root_correction = 1 / math.sqrt(1 - self.beta2**self.t)
        decay = 1 - learning_rate * self.weight_decay
        names = list(self.params)
        adam_update(
            [self.params[name] for name in names],
            [np.ascontiguousarray(grads[name]) for name in names],
            [self.m[name] for name in names],
            [self.v[name] for name in names],
            [decay if self.params[name].ndim > 1 else 1.0 for name in names],
            self.beta1,
            self.beta2,
            step_size,
            root_correction,
            self.epsilon,
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The two moments, and the number of steps."""
        arrays = {f"m.{name}": m for name, m in self.m.items()}
        arrays |= {f"v.{name}": v for name, v in self.v.items()}
        return arrays, {"t": self.t}

    def restore(self, arrays: Arrays, values: dict) -> None:
        """Restores what :meth:`state` returned."""
        _copy_into(self.m, "m.", arrays)
        _copy_into(self.v, "v.", arrays)
        if type(values["t"]) is not int or not 0 <= values["t"] < 2**63:
            raise ValueError(f"t: expected a number of steps, found {short(values['t'])}")
        self.t = values["t"]


@twinned
def adam_update(
    ps: list[np.ndarray],
    gs: list[np.ndarray],
    ms: list[np.ndarray],
    vs: list[np.ndarray],
    decays: list[float],
    beta1: float,
    beta2: float,
    step_size: float,
    root_correction: float,
    epsilon: float,
) -> None:
    """One step of Adam: changes each array of ps and its moments, in ms and vs, in place.

    step_size is learning_rate / (1 - beta1^t), root_correction 1 / sqrt(1 - beta2^t).
    """
    for p, g, m, v, decay in zip(ps, gs, ms, vs, decays, strict=True):
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g**2
        p[...] = decay * p - step_size * m / (np.sqrt(v) * root_correction + epsilon)


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
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, beta1, beta2, epsilon)
        if not weight_decay >= 0:
            raise ValueError(f"weight_decay: expected 0 or more, found {weight_decay}")
        self.weight_decay = weight_decay


def clip_global_norm(grads: Arrays, maximum: float | None) -> float:
    """Scale ``grads`` in place so that their norm, as one long vector, is at most ``maximum``.

    Returns the norm before.  With no maximum, nothing is scaled.

    Source: Pascanu, Mikolov and Bengio (2013), algorithm 1.
    """
    for name, g in grads.items():
        _check_float("grads", name, g)
    with np.errstate(over="ignore"):  # the norm is infinite then
        norm = math.sqrt(sum_of_squares([np.ascontiguousarray(g) for g in grads.values()]))
    if maximum is not None and maximum < norm < math.inf:
        for g in grads.values():
            g *= maximum / norm
    return norm


@twinned
def sum_of_squares(gs: list[np.ndarray]) -> float:
    """The sum of g^2 over all elements of all arrays."""
    return float(sum((g**2).sum() for g in gs))


def _checked(params: Arrays) -> Arrays:
    for name, p in params.items():
        _check_float("params", name, p)
        _check_layout(name, p)
    return params


def _check_step(params: Arrays, grads: Arrays, moments: Arrays) -> None:
    """Check the arrays of one step: at every step, since the caller may replace any of them.

    The moments are the optimiser's own, made for the parameters as they were then.
    """
    for what, arrays in (("params", params), ("grads", grads)):
        if arrays.keys() != moments.keys():
            odd = sorted(arrays.keys() ^ moments.keys())
            raise ValueError(
                f"{what}: expected the keys of the parameters, found a difference in {odd}"
            )
        for name, moment in moments.items():
            array = arrays[name]
            _check_float(what, name, array)
            if array.shape != moment.shape:
                raise ValueError(
                    f"{what}[{name!r}]: expected shape {moment.shape}, found {array.shape}"
                )
            if array.dtype != moment.dtype:
                raise TypeError(f"{what}[{name!r}]: expected {moment.dtype}, found {array.dtype}")
    for name, p in params.items():
        _check_layout(name, p)


def _check_float(what: str, name: str, array: np.ndarray) -> None:
    plain = type(array) in (np.ndarray, np.memmap)  # not matrices or masked arrays
    if not plain or array.dtype not in _FLOATS:
        found = array.dtype if plain else type(array).__name__
        raise TypeError(
            f"{what}[{name!r}]: expected a NumPy array of float32 or float64, found {found}"
        )


def _check_layout(name: str, p: np.ndarray) -> None:
    """An array of any other layout would be flattened to a copy, and the copy trained."""
    if not (p.flags.c_contiguous and p.flags.writeable):
        raise ValueError(f"params[{name!r}]: expected a C-contiguous array that can be changed")


def _size(params: Arrays) -> str:
    return f"{sum(p.size for p in params.values()):,} parameters in {len(params)} arrays"


def _zeros(params: Arrays) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(p) for name, p in params.items()}


def _copy_into(moments: Arrays, prefix: str, arrays: Arrays) -> None:
    for name, moment in moments.items():
        moment[...] = arrays[prefix + name]
