"""Reading the sources of a Transformer: its encoder, without a backward and without padding."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.layers.heads import to_all
from minillm.layers.norms import norm_if_any
from minillm.layers.types import Ids
from minillm.models.transformer import Transformer


def read_sources(
    model: Transformer, source: Ids, lengths: Ids
) -> tuple[NDArray, Ids, Callable[[NDArray], NDArray]]:
    """Like the model's ``encode``, with the R tokens of all B sources in one row.

    Only attention looks at several tokens, so only for it do they return to their sources.
    -> memory (1, R, D), the lengths, and ``padded``, by which heads (1, N, R, w) become
    (B, N, S, w).
    """
    B, S = source.shape
    lengths = checks.ids("start", "lengths", lengths, S + 1, (B,))
    row, column = np.nonzero(np.arange(S) < lengths[:, None])  # of each token

    def padded(x):
        whole = np.zeros((B, x.shape[1], S, x.shape[3]), x.dtype)
        whole[row, :, column] = x[0].swapaxes(0, 1)
        return whole

    def attend(q, k, v):
        y, _ = to_all(lengths)(padded(q), padded(k), padded(v))
        return y[row, :, column].swapaxes(0, 1)[None], None

    x, _ = model.embed(model.source_E, source)
    x = x[row, column][None]  # (1, R, D)
    for layer in range(model.config.layers):
        x, _ = model.block(f"encoder.{layer}", x, attend)
    return norm_if_any(model.params, "encoder.norm", x)[0], lengths, padded
