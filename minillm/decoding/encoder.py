"""Reading the sources of a Transformer: its encoder, without a backward and without padding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.layers.heads import to_all
from minillm.layers.norms import norm_if_any
from minillm.layers.types import Ids
from minillm.models.transformer import Transformer


class Unpadded:
    """The R tokens of B sources without their padding, as one row.

    Only attention looks at several tokens, so only for it do they return to their sources.
    """

    def __init__(self, source: NDArray, lengths: Ids):
        B, S = source.shape
        self.lengths = checks.ids("start", "lengths", lengths, S + 1, (B,))
        self.shape = B, S
        self.places = np.nonzero(np.arange(S) < self.lengths[:, None])  # row, column of each token

    def padded(self, x: NDArray) -> NDArray:
        """The heads of the tokens, (1, N, R, w) -> (B, N, S, w)."""
        (_, N, _, w), (row, column) = x.shape, self.places
        B, S = self.shape
        whole = np.zeros((B, N, S, w), x.dtype)
        whole[row, :, column] = x[0].swapaxes(0, 1)
        return whole

    def attend(self, q: NDArray, k: NDArray, v: NDArray) -> tuple[NDArray, Any]:
        """Attention of each token to all tokens of its source; it has no backward."""
        row, column = self.places
        y, _ = to_all(self.lengths)(*(self.padded(part) for part in (q, k, v)))
        return y[row, :, column].swapaxes(0, 1)[None], None


def read_sources(model: Transformer, source: Ids, lengths: Ids) -> tuple[NDArray, Unpadded]:
    """Like the model's method ``encode``, without the padding: -> memory (1, R, D), its tokens."""
    tokens = Unpadded(source, lengths)
    x, _ = model.embed(model.source_E, source)
    x = x[tokens.places][None]  # (1, R, D)
    for layer in range(model.config.layers):
        x, _ = model.block(f"encoder.{layer}", x, tokens.attend)
    memory, _ = norm_if_any(model.params, "encoder.norm", x)
    return memory, tokens
