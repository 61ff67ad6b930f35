"""Gradient descent on dictionaries of arrays: SGD with momentum, Adam, AdamW, clipping.

An optimiser changes the parameters in place.  It keeps a reference to their dictionary, not copies
of the arrays.  With the decorator ``@optimiser``, it can be chosen in the settings of a run by its
name in lower case.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minillm import checks
from minillm._kernels import twinned
from minillm.errors import short
from minillm.training.layout import Arrays, Layout, require_floats, require_from_zero


class Optimiser:
    """An optimiser: parameters, moments of the same shapes, and the number of steps t."""

    def __init__(self, params: Arrays, *moments: str):
        self.params, self.layout, self.t = params, Layout(params), 0
        self.moments = {moment: self.layout.zeros() for moment in moments}

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """Take a step down ``grads``, which has the keys and shapes of the parameters."""
        require_from_zero("learning_rate", learning_rate)
        for argument, arrays in {"params": self.params, **self.moments}.items():
            self.layout.check(argument, arrays)
        self.layout.check("grads", grads, changed=False)
        self.t += 1

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The moments, under names such as "v.W", and the number of steps."""
        return {
            f"{moment}.{name}": array
            for moment, arrays in self.moments.items()
            for name, array in arrays.items()
        }, {"t": self.t}

    def restore(self, arrays: Arrays, values: dict) -> None:
        """Restore a result of :meth:`state`."""
        if type(values["t"]) is not int or not 0 <= values["t"] < 2**63:
            raise ValueError(f"t: expected a number of steps, found {short(values['t'])}")
        for moment, copies in [(m, self.layout.copies(arrays, m)) for m in self.moments]:
            self.moments[moment].update(copies)
        self.t = values["t"]


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
class SGD(Optimiser):
    """Stochastic gradient descent with momentum.

        v = momentum v + g
        p = p - learning_rate v

    Source: Polyak (1964); Sutskever et al. (2013).  As in PyTorch, g is not scaled by the rate
    before it enters v.
    """

    def __init__(self, params: Arrays, momentum: float = 0.9):
        self.momentum = checks.below_one("SGD", "momentum", momentum)
        super().__init__(params, "v")
        self.v = self.moments["v"]

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """Take a step: see the equations."""
        super().step(grads, learning_rate)
        for name, p in self.params.items():
            v = self.v[name]
            v *= self.momentum
            v += grads[name]
            p -= learning_rate * v


@optimiser
class Adam(Optimiser):
    """Adam: steps of about the learning rate, whatever the scale of the gradient.

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p = p - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    m and v start at 0.  The weights of t gradients in m sum to 1 - beta1^t, hence the divisions.

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
        self.beta1 = checks.below_one("Adam", "beta1", beta1)
        self.beta2 = checks.below_one("Adam", "beta2", beta2)
        self.eps = checks.positive("Adam", "eps", eps)
        super().__init__(params, "m", "v")
        self.m, self.v = self.moments.values()

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """Take a step: see the equations."""
        super().step(grads, learning_rate)
        decay = 1 - learning_rate * self.weight_decay
        adam_update(
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

    Only matrices decay, not biases and gains.

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
        require_from_zero("weight_decay", weight_decay)
        self.weight_decay = weight_decay


def clip_global_norm(grads: Arrays, maximum: float | None) -> float:
    """The norm of ``grads`` as one long vector; they are scaled in place to at most ``maximum``.

    Without a maximum, nothing is scaled, and an array that has two names is scaled once.  Raises
    ValueError before anything is scaled if an array cannot be changed.

    Source: Pascanu, Mikolov and Bengio (2013), algorithm 1.
    """
    if maximum is not None and not maximum > 0:
        raise ValueError(f"maximum: expected above 0, found {maximum}")
    require_floats("grads", grads)
    for name, g in grads.items():
        if maximum is not None and not g.flags.writeable:
            raise ValueError(
                f"grads[{name!r}]: expected an array that can be changed, found a read-only one"
            )
    with np.errstate(over="ignore"):  # the norm is infinite then
        # The sum of a ufunc takes half the time of the method's, which counts for small arrays.
        norm = math.sqrt(sum([float(np.add.reduce(g**2, axis=None)) for g in grads.values()]))
    if maximum is not None and maximum < norm < math.inf:
        for g in {id(g): g for g in grads.values()}.values():
            g *= maximum / norm
    return norm
