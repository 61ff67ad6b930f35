"""LoRA: a weight stays as it is, and a product of two thin matrices is added to it.

    W' = W + s A B        W (I, O) frozen, A (I, r), B (r, O), s = alpha / r

Adapting a pre-trained model takes far fewer directions than a weight has entries, so a small rank r
is enough.  At the start A is random and B is zero: the model is unchanged.  The loss depends on A
and B only through W'.  Their gradients follow from dW', which any model's backward returns:

    dA = s dW' B^T        dB = s A^T dW'

This works for any weight of any model, such as an embedding or a recurrent weight.  Computing
dW' = x^T dy is a third of a step's work.  Dense layers avoid it, because they ask the weight for
its gradients (:class:`LoraWeight`).  In another order, the products need no matrix as large as W:

    dA = s x^T (dy B^T)   dB = s (x A)^T dy

That is 2 r (I + O) multiplications for each row of x instead of I O.

LoRA saves memory for gradients and for an optimiser's moments.  It also saves disk space: only A
and B are stored, a hundredth of the model, and one model can have many such adapters.  Forward and
backward read W' instead of W, so no pass is slower than without LoRA.

A quantised W is not changed: see :mod:`minillm.quantised.low_rank`.

    lora = LoRA(model, new_additions(model.params, names, 8, rng), scale=2.0)
    trained = Trained(lora.params, lora)
    trained.mark(model)
    optimiser = AdamW(trained.params)
    loss, backward = model.loss(batch, rng)
    optimiser.step(trained.gradients(backward), 1e-3)
    trained.merge()

Source: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen (2021), "LoRA: low-rank adaptation of
large language models", section 4.1.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.checks import op
from minillm.layers.types import Gradients
from minillm.quantised import QuantisedLora
from minillm.training.layout import Arrays


@dataclass(frozen=True, eq=False)
class LoraWeight:
    """A matrix W' = W + A B (I, O) whose A (I, r) and B (r, O) are trained; A includes s.

    ``array`` is W'.  No other array may replace it, because kernels keep its address.
    """

    array: NDArray
    A: NDArray
    B: NDArray

    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: self.array.ndim)
    shape = property(lambda self: self.array.shape)
    size = property(lambda self: self.array.size)
    nbytes = property(lambda self: self.array.nbytes)

    def linear(
        self, x: NDArray, b: NDArray | None = None
    ) -> tuple[NDArray, Callable[[NDArray], tuple[NDArray, Gradients]]]:
        """y = x W' + b: x (..., I) -> y (..., O).  ``backward(dy)`` -> dx, {".A": dA, ".B": dB}."""
        y, op_backward = low_rank_linear(x, self.array, self.A, self.B, b)

        def backward(dy):
            dx, dA, dB = op_backward(dy)
            return dx, {".A": dA, ".B": dB}

        return y, backward


@op("x: ... I, W: I O constant, A: I R, B: R O, b: O constant? -> y: ... O", order="any")
def low_rank_linear(
    x: NDArray, W: NDArray, A: NDArray, B: NDArray, b: NDArray | None = None
) -> tuple[NDArray, Callable]:
    """y = x W + b, where the matrix W (I, O) includes the product of A (I, r) and B (r, O).

    ``backward(dy)`` -> dx, dA, dB, by the products at the top of this page.  Keeps x, W, A and B.
    """
    y, _ = ops.linear(x, W, b)
    rows = x.reshape(-1, len(W))

    def backward(dy):
        # y = x (W + A B) + b
        dx, _ = ops.linear(dy, W.T)
        drows = dy.reshape(-1, W.shape[1])
        dA = product(rows.T, product(drows, B.T))
        dB = product(product(rows, A).T, drows)
        return dx, dA, dB

    return y, backward


def new_additions(
    params: Arrays, names: Iterable[str], rank: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """New A and B for the named weights: A uniform with variance 1 / (3 I), B zero."""
    additions = {}
    for name in names:
        W = params[name]
        I, O = W.shape
        additions[f"{name}.A"] = rng.uniform(-(I**-0.5), I**-0.5, (I, rank)).astype(W.dtype)
        additions[f"{name}.B"] = np.zeros((rank, O), W.dtype)
    return additions


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b, by the kernels in force, because NumPy's threads would wait for theirs."""
    return ops.linear(a, b)[0]


class LoRA:
    """Adapters of some weights of a model.

    ``params`` has A and B, as ``attention.W.A`` and ``attention.W.B``.  A matrix of the model, in
    its own ``params``, becomes a :class:`LoraWeight`, or a :class:`QuantisedLora`.  Any other
    weight stays an array, which holds W' from now on; ``frozen`` has the W of all arrays.
    """

    def __init__(self, model: Any, additions: dict[str, np.ndarray], scale: float):
        weights, declared = model.params, model.new_parameters(model.config)
        self.names = [name.removesuffix(".A") for name in additions if name.endswith(".A")]
        self.params, self.scale = additions, scale
        self.scaled = {name: np.empty_like(additions[f"{name}.A"]) for name in self.names}  # s A
        self.merged = {n: weights[n] for n in self.names if isinstance(weights[n], np.ndarray)}
        self.frozen = {name: W.copy() for name, W in self.merged.items()}
        for name, sA in self.scaled.items():
            if name not in self.merged:
                weights[name] = QuantisedLora(weights[name], sA, additions[f"{name}.B"])
            elif declared[name].role == "matrix":
                weights[name] = LoraWeight(weights[name], sA, additions[f"{name}.B"])
        self.merge()

    def merge(self) -> None:
        """W' = W + s A B, in the arrays of the model."""
        for name, sA in self.scaled.items():
            A, B = self.params[f"{name}.A"], self.params[f"{name}.B"]
            np.multiply(A, A.dtype.type(self.scale), out=sA)
            if name in self.merged:
                np.add(self.frozen[name], product(sA, B), out=self.merged[name])

    def gradients(self, gradients: Arrays) -> dict[str, np.ndarray]:
        """The gradients of A and B, from the gradients of W', or of s A and B."""
        additions = {}
        for name, sA in self.scaled.items():
            A, B = f"{name}.A", f"{name}.B"
            s = sA.dtype.type(self.scale)
            if name in gradients:
                # W' = W + (s A) B
                dW = gradients[name]
                additions[A] = s * product(dW, self.params[B].T)
                additions[B] = product(sA.T, dW)
            elif A in gradients:
                additions[A], additions[B] = s * gradients[A], gradients[B]
        return additions
