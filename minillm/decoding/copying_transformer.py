"""Writing with a Transformer that copies, by the steps of a Transformer.

A step of a Transformer ends with logits y E^T (:mod:`minillm.decoding.hypotheses`).  The query of
the pointer, y W_q, and the gate, y W + b, are products with the same y.  So the Transformer gets
the table E with W_q^T and W^T as further rows, and its logits are split into the three:

    [logits, query, gate] = y [E; W_q^T; W^T]^T

Legend: B sources, K hypotheses of each, S source steps, V vocabulary, H width of a head.
"""

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.decoding.decoder import Decoder
from minillm.decoding.hypotheses import TransformerDecoder
from minillm.decoding.pointer import log_mixture
from minillm.layers import dense
from minillm.layers.types import Ids, State
from minillm.models.copying_transformer import CopyingTransformer

OWN = ("memory.pointer", "memory.source")  # the entries of a state that no Transformer has


class CopyingTransformerDecoder(Decoder, of=CopyingTransformer):
    """The decoding of a Transformer with copying, for beam search and sampling.

    A state has the entries of :class:`~minillm.decoding.hypotheses.TransformerDecoder`,
    ``memory.pointer`` (B, S, H), the keys of the pointer, and ``memory.source`` (B, S).
    """

    _steps: TransformerDecoder | None = None  # with the table of the last start

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """See :meth:`Decoder.start`."""
        memory, _ = self.model.encode(source, lengths)
        keys, _ = dense.layer(self.model.params, "pointer", memory, suffix="_k")
        own = {"memory.pointer": keys, "memory.source": np.array(source)}
        self._steps = self._new_steps()
        return self._steps.start_from(memory, lengths) | own

    def step(self, ids: Ids, state: State) -> tuple[NDArray, NDArray, State]:
        """See :meth:`Decoder.step`; log P (B, K, W) is returned in the place of logits.

        The weights are the probabilities of copying each position.
        """
        V, keys, source = self.config.vocabulary + 1, *(state[name] for name in OWN)
        steps = self._steps or self._new_steps()
        inner = {name: entry for name, entry in state.items() if name not in OWN}
        products, _, inner = steps.step_of(self.model.known(ids), inner, shown=0)
        logits, queries, gates = np.split(products, [V, V + keys.shape[-1]], axis=-1)
        gates = gates[..., 0] + self.model.params["gate.b"]
        scale = products.dtype.type(keys.shape[-1] ** -0.5)
        (_, weights), _ = ops.multiplicative_attention(
            scale * queries, keys, keys, None, state["memory.lengths"]
        )
        own = {name: state[name] for name in OWN}
        return log_mixture(logits, gates, weights, source), weights, inner | own

    def _new_steps(self) -> TransformerDecoder:
        """The steps of the Transformer, with the rows of the pointer and of the gate in E.

        No id looks up these rows.
        """
        p, transformer = self.model.params, self.model.transformer()
        E = p["embedding.E"]
        W_q, _ = dense.layer(p, "pointer", np.eye(E.shape[1], dtype=E.dtype), suffix="_q")
        transformer.params["embedding.E"] = np.concatenate([E, W_q.T, p["gate.W"].T])
        return TransformerDecoder(transformer)
