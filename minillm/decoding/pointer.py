"""Writing with a pointer-generator: its vocabulary is larger by the new words of the sources.

    P = g softmax(logits) + (1 - g) m           m_y = sum of w_j over the positions j of y

A step returns log P instead of logits.  Its log-softmax is log P again, so beam search and sampling
need no change.

Legend: B sources, K hypotheses of each, S source steps, V vocabulary with EOS, W words that can be
written.
"""

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.decoding.decoder import RecurrentDecoder, TargetDecoder
from minillm.decoding.recurrent import stack_step
from minillm.layers.types import Ids, State
from minillm.models.pointer_generator import PointerGenerator
from minillm.ops.softmax import log_softmax


@TargetDecoder.register(PointerGenerator)
class PointerDecoder(RecurrentDecoder):
    """The decoding of a pointer-generator.

    A state has ``decoder.0.h`` and so on, (B, K, H), and the memory of
    :class:`~minillm.models.pointer_generator.PointerGenerator`.
    """

    def step(self, ids: Ids, state: State) -> tuple[NDArray, NDArray, State]:
        """See :mod:`minillm.decoding.decoder`; instead of logits, it returns log P (B, K, W)."""
        c, p = self.config, self.model.params
        x, _ = ops.embedding(self.model.known(ids), p["embedding.E"])  # (B, K, D)
        h, last = stack_step(p, "decoder", x, state, c.cell, c.layers)  # (B, K, H)
        (a, weights), _ = self.model.attentional_state(h, state)
        (logits, gates), _ = self.model.output(a)
        return log_mixture(logits, gates, weights, state["memory.source"]), weights, state | last


def log_mixture(logits: NDArray, gates: NDArray, weights: NDArray, source: Ids) -> NDArray:
    """Log P of all words, of the vocabulary and of the sources.

    logits (B, K, V), gates z (B, K), weights (B, K, S), source (B, S) -> log P (B, K, W), where W
    is V, or more if there are higher ids in the sources.  Words that can be neither written nor
    copied from their own source have minus infinity.
    """
    B, K, V = logits.shape
    W = max(V, int(source.max()) + 1)
    z = gates[..., None]
    log_g, log_rest = -np.logaddexp(0, -z), -np.logaddexp(0, z)  # log g and log(1 - g)
    rows, hypotheses, at = np.arange(B)[:, None, None], np.arange(K)[:, None], source[:, None, :]
    m = np.zeros((B, K, W), logits.dtype)
    np.add.at(m, (rows, hypotheses, at), weights)
    log_P = np.full((B, K, W), -np.inf, logits.dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_P[..., :V] = log_g + log_softmax(logits)
        # m is 0 except at the words of the source
        written, copied = log_P[rows, hypotheses, at], np.log(m[rows, hypotheses, at])
        log_P[rows, hypotheses, at] = np.logaddexp(written, log_rest + copied)
    return log_P
