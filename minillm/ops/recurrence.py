"""The shared parts of the recurrent networks: inputs, lengths, and the gradients of weights.

Legend: B batch, T time, I input width, H hidden width, G H the gates side by side
along the last axis, in PyTorch's order.  Every recurrence here has pre-activations

    a_t = x_t W_x + b + h_{t-1} W_h        (B, G H)

They differ in how h_t follows from a_t: see ``rnn``, ``lstm`` and ``gru``.

The term x_t W_x + b depends on no earlier step.  It is computed for all steps by one matrix
product, before the loop over time.  The loop of the backward runs from the last step to the
first and computes da_t.  After the loop, the gradient of each weight is one product over all
steps of all rows:

    dx_t = da_t W_x^T        dW_x = sum over t of x_t^T da_t        db = sum of da_t
    dh_{t-1} += da_t W_h^T   dW_h = sum over t of h_{t-1}^T da_t

x may be ids (B, T) instead of one-hot vectors of width I.  Then x_t W_x is row x_t of
W_x, and there is no dx.

``lengths`` (B,): row b ends after lengths[b] steps.  Its later outputs are zero.  Its
last state is the one at the last valid step (the initial state at length 0).  The
padding changes no result and no gradient.

A new recurrence is a page with an op, a step and an entry in ``CELLS``, where layers and
models look it up by name.

Source of the backwards: Werbos (1990), "Backpropagation through time: what it does
and how to do it".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.linear import product
from minillm.ops.padding import OptionalLengths, zero_padding

Array = NDArray[np.floating]
Inputs = NDArray[Any]  # floats (B, T, I), or ids (B, T) as int64
Lengths = NDArray[np.int64]


class Cell(NamedTuple):
    """A recurrence: its functions, and the names of its states and weights."""

    run: Callable[..., Any]  # over a whole sequence: (x, *state, *weights, lengths=)
    step: Callable[..., Any]  # one step without a backward: (x, *state, *weights)
    state: tuple[str, ...]  # the entries of the state; the first, h, is the output
    weights: tuple[str, ...]  # W_x, W_h unless the gates do not read the state, then the biases
    gates: int
    open_gate: int | None = None  # the gate whose bias begins at 1, not at 0


CELLS: dict[str, Cell] = {}


def sequence(steps: list[Array], lengths: Lengths) -> Array:
    """Stack the arrays (B, D) of all steps into one array (B, T, D), with zero padding."""
    return zero_padding(np.stack(steps, axis=1), lengths)


def rows(x: Array) -> Array:
    """All steps of all rows as one matrix: (B, T, D) -> (B T, D)."""
    return x.reshape(-1, x.shape[-1])


def input_term(x: Inputs, W_x: Array, b: Array, lengths: Lengths | None = None) -> Array:
    """x W_x + b for all steps, x (B, T, I) or ids (B, T) -> (B, T, G H), or for one
    step, x (B, I) or ids (B,) -> (B, G H)."""
    if x.dtype.kind == "i":
        return W_x[x] + b
    if lengths is None:
        return x @ W_x + b  # a step is not trained, so its operands are not rounded
    x = zero_padding(x, lengths)
    return product(rows(x), W_x).reshape(*x.shape[:-1], -1) + b


def input_term_backward(
    da: Array, x: Inputs, W_x: Array, lengths: Lengths
) -> tuple[Array | None, Array, Array]:
    """da (B, T, G H), zero past the lengths -> dx (None by ids), dW_x, db."""
    # a = x W_x + b + ...
    db = rows(da).sum(axis=0)
    if x.dtype.kind == "i":
        dW_x = np.zeros_like(W_x)
        np.add.at(dW_x, x, da)
        return None, dW_x, db
    dx = zero_padding(product(rows(da), W_x.T).reshape(x.shape), lengths)
    dW_x = product(rows(zero_padding(x, lengths)).T, rows(da))
    return dx, dW_x, db


def state_term_backward(da: Array, h0: Array, hs: Array, lengths: Lengths) -> Array:
    """da (B, T, G H), h0 (B, H), hs (B, T, H) -> dW_h."""
    # a = h_prev W_h + ...
    h_prev = np.concatenate([h0[:, None], hs[:, :-1]], axis=1)  # (B, T, H)
    return product(rows(zero_padding(h_prev, lengths)).T, rows(da))


def without_ids(dx: Array | None, *gradients: Array) -> tuple[Array, ...]:
    """The gradients of an op's float arguments, without dx if x is ids."""
    return gradients if dx is None else (dx, *gradients)


@op("x: B T D, lengths: B <= T or T -> y: B T D")
def reverse(x: NDArray, lengths: OptionalLengths = None) -> tuple[NDArray, Callable]:
    """Reverse the order of each row's valid steps; the padding stays in place, as zeros.

    x (B, T, D), lengths (B,) or None -> y (B, T, D), y[b, t] = x[b, lengths[b] - 1 - t].
    ``backward(dy)`` -> dx.  Keeps the order.

    A recurrence over ``reverse(x)``, reversed again, reads from right to left.  With it, a
    bidirectional network needs no new gradient.  Reversing is its own inverse and its own
    transpose, so forward and backward are the same function.

    Source: Schuster and Paliwal (1997), "Bidirectional recurrent neural networks".
    """
    B, T, _ = x.shape
    source = lengths[:, None] - 1 - np.arange(T)  # (B, T), negative in the padding

    def reversed_rows(a):
        y = a[np.arange(B)[:, None], source]  # whole rows at a time
        y[source < 0] = 0
        return y

    y = reversed_rows(x)

    def backward(dy):
        return reversed_rows(dy)

    return y, backward
