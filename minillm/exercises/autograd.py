"""Sixty lines of autograd: a tape that notes each call of an op, and then runs their backwards.

    tape = Tape()
    x, W = Value(...), Value(...)
    y = tape(ops.linear, x, W)          any op that returns its output and its backward
    loss = tape(ops.cross_entropy, y, targets)
    tape.backward(loss)                 x.gradient, W.gradient

In this package, the backward of a layer or a model is written out under its forward, and calls the
backwards of its ops in reverse order.  That order is always the same, so a program can keep it:
this is all that PyTorch's autograd does, too, and the derivatives of the ops are still written by
hand.  No model of this package uses this page; `taped.py` has two models on it.

Sources: Wengert (1964), "A simple automatic derivative evaluation program", for the list of steps;
Maclaurin, Duvenaud and Adams (2015), "Autograd: effortless gradients in NumPy".
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Value:
    """An array, and after ``Tape.backward`` the gradient of the loss with respect to it."""

    def __init__(self, array: NDArray) -> None:
        self.array = array
        self.gradient: NDArray | None = None  # None: the loss does not depend on it

    def receive(self, gradient: NDArray) -> None:
        """Add the gradient of one use: uses add up.  The sum is a new array."""
        self.gradient = gradient if self.gradient is None else self.gradient + gradient


class Tape:
    """The calls of ops, in their order: the inputs, the outputs and the backward of each."""

    def __init__(self) -> None:
        self.steps: list[tuple[list, list[Value], Callable]] = []

    def __call__(self, op: Callable, *args: Any, **options: Any) -> Any:
        """Call an op on values, constant arrays and other arguments; return its output as a value.

        An op with several outputs returns a tuple of values.  Options hold no arrays of floats.
        """
        plain = [a.array if isinstance(a, Value) else a for a in args]
        outputs, backward = op(*plain, **options)
        several = isinstance(outputs, tuple)
        values = [Value(y) for y in (outputs if several else (outputs,))]
        # The backward returns one gradient for each array of floats, in their order.
        inputs = [a for a, x in zip(args, plain, strict=True) if is_floating(x)]
        self.steps.append((inputs, values, backward))
        return tuple(values) if several else values[0]

    def backward(self, loss: Value) -> None:
        """Hand gradients back from the loss to every value that it depends on; empty the tape."""
        loss.gradient = np.ones_like(loss.array)
        while self.steps:
            inputs, outputs, backward = self.steps.pop()
            upstream = [y.gradient for y in outputs]
            if all(dy is None for dy in upstream):
                continue  # the loss does not depend on this step
            gradients = backward(*upstream)
            several = isinstance(gradients, tuple)
            for x, dx in zip(inputs, gradients if several else (gradients,), strict=True):
                if isinstance(x, Value):
                    x.receive(dx)


def is_floating(x: Any) -> bool:
    """Tell whether an argument is an array that has a gradient."""
    return isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.floating)
