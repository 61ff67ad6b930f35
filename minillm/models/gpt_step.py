"""One token at a time: a GPT's equations for a single token of each row, in one call.

When a model writes, each weight is used once per token.  For a small model, the Python calls of
:mod:`minillm.models.gpt` would take longer than the arithmetic.  So the twin of :func:`_gpt_step`
runs all blocks in one call, and looks up the addresses of the weights once for many tokens.

Legend: B batch, S room of the cache, V vocabulary, D width, N heads.
"""

from operator import is_, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm._kernels import twinned
from minillm.layers.block import EPSILON
from minillm.layers.cache import Cache
from minillm.layers.types import Ids
from minillm.models.causal import CausalTransformer, Config
from minillm.ops import _validate
from minillm.ops.gelu import _gelu_forward
from minillm.ops.layer_norm import _layer_norm_forward

MODEL_WEIGHTS = ("embedding.E", "positions.E", "norm.gain", "norm.bias")
BLOCK_WEIGHTS = (
    *("norm_1.gain", "norm_1.bias", "attention.W_qkv", "attention.b_qkv", "attention.W_o"),
    *("attention.b_o", "norm_2.gain", "norm_2.bias", "feed_forward.W_1", "feed_forward.b_1"),
    *("feed_forward.W_2", "feed_forward.b_2"),
)


class OneTokenSteps(CausalTransformer[Config]):
    """A GPT that reads single tokens with :func:`_gpt_step`."""

    _step_weights: "StepWeights | None" = None  # of the last step

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, V) after one token of each row, ids (B,)."""
        checked = _validate.ids("read", "ids", ids, self.config.vocabulary)
        weights = self._step_weights
        if weights is None or not weights.are_in(self.params):
            weights = self._step_weights = StepWeights(self.config.layers, self.params)
        start = cache["start"].copy()  # another thread may write into it
        return _gpt_step(weights, checked, start, list(weights.past_of(cache)))


class StepWeights:
    """The weights of a GPT as :func:`_gpt_step` takes them, looked up once for many steps.

    The arrays of one object never change, because another thread may be using them.  When a weight
    of the model has been replaced, the model gets a new object.
    """

    def __init__(self, layers: int, params: dict[str, NDArray]) -> None:
        names, past = list(MODEL_WEIGHTS), []
        for layer in range(layers):
            names += [f"blocks.{layer}.{name}" for name in BLOCK_WEIGHTS]
            past += [f"blocks.{layer}.attention.{name}" for name in ("keys", "values")]
        self.weights_of, self.past_of = itemgetter(*names), itemgetter(*past)
        arrays = self.weights_of(params)
        self.arrays = tuple([a if a.flags.c_contiguous else a.copy("C") for a in arrays])
        self.addresses: Any = None  # of the arrays; the kernel fills them in

    def are_in(self, params: dict[str, NDArray]) -> bool:
        """Whether these arrays still are the weights of the model."""
        return all(map(is_, self.weights_of(params), self.arrays))


@twinned
def _gpt_step(
    weights: StepWeights, ids: NDArray[np.int64], start: NDArray[np.int64], past: list[NDArray]
) -> NDArray:
    """ids (B,) at the positions start (B,) -> the logits (B, V) of the next tokens.

    ``past`` has the keys and values of each layer; those of the ids are written into it.
    """
    E, P, gain, bias, *of_blocks = weights.arrays
    n = len(BLOCK_WEIGHTS)
    x = E[ids] + P[start]
    for layer in range(len(of_blocks) // n):
        w = dict(zip(BLOCK_WEIGHTS, of_blocks[n * layer : n * (layer + 1)], strict=True))
        x = _block(x, w, keys=past[2 * layer], values=past[2 * layer + 1], start=start)
    y, _, _ = _layer_norm_forward(x, gain, bias, EPSILON)
    return y @ E.T


def _block(
    x: NDArray, w: dict[str, NDArray], keys: NDArray, values: NDArray, start: NDArray[np.int64]
) -> NDArray:
    """One block: x (B, D) -> (B, D).

    The keys and values of row b are written at position start[b] of ``keys`` and ``values``,
    (B, N, S, D/N).
    """
    _, N, _, width = keys.shape
    h, _, _ = _layer_norm_forward(x, w["norm_1.gain"], w["norm_1.bias"], EPSILON)
    q, k, v = np.split(h @ w["attention.W_qkv"] + w["attention.b_qkv"], 3, axis=1)  # (B, D) each
    context = np.empty_like(x)
    for b, t in enumerate(start):
        keys[b, :, t], values[b, :, t] = k[b].reshape(N, width), v[b].reshape(N, width)
        scores = keys[b, :, : t + 1] @ q[b].reshape(N, width, 1) * width**-0.5  # (N, t + 1, 1)
        weights, _ = ops.softmax(scores[..., 0])
        context[b] = (weights[:, None] @ values[b, :, : t + 1]).ravel()
    x = x + context @ w["attention.W_o"] + w["attention.b_o"]
    h, _, _ = _layer_norm_forward(x, w["norm_2.gain"], w["norm_2.bias"], EPSILON)
    h = h @ w["feed_forward.W_1"] + w["feed_forward.b_1"]
    h = _gelu_forward(h.ravel()).reshape(h.shape)
    return x + h @ w["feed_forward.W_2"] + w["feed_forward.b_2"]
