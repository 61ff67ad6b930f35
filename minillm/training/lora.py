"""LoRA: a weight stays as it is, and a product of two thin matrices is added to it.

    W' = W + s A B        W (I, O) frozen, A (I, r), B (r, O), s = alpha / r

Adapting a pre-trained model takes far fewer directions than a weight has numbers, so a small rank r
will do.  At the start A is random and B is zero: the model is unchanged.  The loss depends on A and
B only through W'.  Their gradients follow from dW', which any model's backward returns:

    dA = s dW' B^T        dB = s A^T dW'

This works for any weight of any model, such as an embedding or a recurrent weight.  Computing
dW' = x^T dy is a third of a step's work.  Dense layers avoid it if they find A and B beside W
(:mod:`minillm.layers.dense`):

    dA = s x^T (dy B^T)   dB = s (x A)^T dy

LoRA saves memory for gradients and for an optimiser's moments.  It also saves disk space: only A
and B are stored, a hundredth of the model, and one model can have many such additions.  Forward and
backward read W' instead of W, so no pass is slower than without LoRA.

A quantised W is not changed.  Its layer adds (x s A) B to x W (:mod:`minillm.layers.dense`), which
is 2 r (I + O) multiplications more for each row of x.

    lora = LoRA(model.params, new_additions(model.params, names, 8, rng), scale=2.0)
    model.params |= lora.beside        # for the cheaper gradients
    trained = Trained(lora.params, lora)
    optimiser = Merging(AdamW(trained.params), lora)
    loss, backward = model.loss(batch, rng)
    optimiser.step(trained.gradients(backward), 1e-3)

Source: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen (2021), "LoRA: low-rank adaptation of
large language models", section 4.1.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from minillm import ops
from minillm.training.optimisers import Arrays, Optimiser


def new_additions(
    params: Arrays, names: Iterable[str], rank: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw A and B for the named weights: A uniform with variance 1 / (3 I), B zero."""
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
    """Additions to some weights of a model, merged into them unless they are quantised.

    ``params`` has A and B, as ``attention.W.A`` and ``attention.W.B``.  The arrays of the model
    are changed in place: from now on, they hold W'.  ``frozen`` has the W of these.  ``beside`` has
    s A and B, for the layers that use them.
    """

    def __init__(self, model_params: Arrays, additions: dict[str, np.ndarray], scale: float):
        self.names = [name.removesuffix(".A") for name in additions if name.endswith(".A")]
        self.merged = {
            name: model_params[name]
            for name in self.names
            if not isinstance(model_params[name], ops.Quantised)
        }
        self.frozen = {name: W.copy() for name, W in self.merged.items()}
        self.params, self.scale = additions, scale
        self.beside = {f"{name}.A": np.empty_like(additions[f"{name}.A"]) for name in self.names}
        self.beside |= {f"{name}.B": additions[f"{name}.B"] for name in self.names}
        self.merge()

    def merge(self) -> None:
        """W' = W + s A B, in the arrays of the model."""
        for name in self.names:
            A, B = self.beside[f"{name}.A"], self.params[f"{name}.B"]
            np.multiply(self.params[f"{name}.A"], A.dtype.type(self.scale), out=A)
            if name in self.merged:
                np.add(self.frozen[name], product(A, B), out=self.merged[name])

    def gradients(self, gradients: Arrays) -> dict[str, np.ndarray]:
        """The gradients of A and B, from those of W', or of s A and B."""
        additions = {}
        for name in self.names:
            A, B = f"{name}.A", f"{name}.B"
            s = self.params[A].dtype.type(self.scale)
            if name in gradients:
                # W' = W + (s A) B
                dW = gradients[name]
                additions[A] = s * product(dW, self.params[B].T)
                additions[B] = product(self.beside[A].T, dW)
            elif A in gradients:
                additions[A], additions[B] = s * gradients[A], gradients[B]
        return additions


class Merging:
    """An optimiser that updates W' after each step of A and B."""

    def __init__(self, optimiser: Optimiser, lora: LoRA):
        self.optimiser, self.lora = optimiser, lora

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """Take one step, and update the weights of the model."""
        self.optimiser.step(grads, learning_rate)
        self.lora.merge()

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The state of the optimiser."""
        return self.optimiser.state()

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restore a result of :meth:`state`, after A and B have been restored."""
        self.optimiser.restore(arrays, values)
        self.lora.merge()
