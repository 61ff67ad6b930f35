"""The pointer-generator: an encoder-decoder that writes words, or copies them from its source.

    memory_1 .. memory_S = encoder(source)              an output for each source token
    h_t = decoder(E[y_{t-1}], h_{t-1})                  h_0 from the encoder's last state
    w_t = softmax(h_t W memory^T)                       attention, as in the encoder-decoder
    a_t = tanh([w_t memory, h_t] W + b)                 the attentional state
    p_t = softmax(a_t E^T + b)                          a word from the vocabulary
    g_t = sigmoid(a_t W + b)                            the probability of taking it
    P(y_t) = g_t p_t[y_t] + (1 - g_t) sum of w_tj over the positions j with source_j = y_t

The attention weights serve twice: as weights of a mean, and as the probabilities of copying each
position.  Names and numbers that occur once in the training data can be copied; no output layer
could learn to write them.

Source and target have one vocabulary of V tokens, and one matrix E for all that is read and
written.  One id is EOS = BOS = V.  The k-th word of a source that the vocabulary lacks has the id
V + 1 + k.  The model reads it as the unknown word, and can write it only by copying.

With ``coverage`` c, the training loss also has c times the attention to positions that have been
attended to before (:func:`minillm.ops.coverage`), against summaries that repeat themselves.

Legend: B batch, S source steps, T target steps, D embedding, H hidden, M = 2H the width of the
memory, V vocabulary, L layers.

Sources: Vinyals, Fortunato and Jaitly (2015), "Pointer networks"; Gulcehre, Ahn, Nallapati, Zhou
and Bengio (2016), "Pointing the unknown words"; See, Liu and Manning (2017), "Get to the point:
summarization with pointer-generator networks".  Theirs has additive attention, and computes g from
w_t memory, h_t and E[y_{t-1}].  Press and Wolf (2017), "Using the output embedding to improve
language models", for E^T.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers import dense, recurrent
from minillm.layers.fresh import ParamSpec, at_depth, normal, uniform
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Ids, Rng, State
from minillm.models import base, sizes
from minillm.models.encoder_decoder import Batch
from minillm.models.teacher_forcing import TargetConfig, teacher_forcing
from minillm.ops.padding import length_mask


@dataclass(frozen=True)
class PointerGeneratorConfig(TargetConfig):
    """The sizes of a pointer-generator."""

    vocabulary: int  # V, without BOS and EOS
    unknown: int = 0  # the id that words outside of the vocabulary are read as
    embedding: int = 128  # D
    hidden: int = 128  # H, of the decoder and of each direction of the encoder
    layers: int = 1  # L, of each
    cell: str = "lstm"
    dropout: float = 0.3
    coverage: float = 0.0  # the weight of the coverage loss

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "embedding", "hidden", "layers")
        sizes.check_at_least(self, 0, "unknown", "coverage")
        sizes.check_one_of(self, "cell", tuple(recurrent.CELLS))
        sizes.check_below_one(self, "dropout")
        if self.unknown >= self.vocabulary:
            raise sizes.wrong(self, "unknown", f"an id below {self.vocabulary}")


class PointerGenerator(base.Model[PointerGeneratorConfig]):
    """A recurrent encoder-decoder whose attention also points to the word to copy.

    ``params``: ``embedding.E`` (V + 1, D); ``encoder.0.forward.W_x``, ``encoder.0.reverse.W_x``
    and so on; ``bridge.0.h.W`` and so on, from the encoder's last states to the decoder's first;
    ``decoder.0.W_x`` and so on; ``attention.W`` (H, M); ``combine.W`` (M + H, D) and
    ``combine.b``; ``gate.W`` (D, 1) and ``gate.b``; ``output.b`` (V + 1).

    A decoder's state has ``decoder.0.h`` and so on, (B, H), ``memory.values`` (B, S, M),
    ``memory.source`` (B, S), the ids that can be copied, and ``memory.lengths`` (B,).
    """

    @staticmethod
    def new_parameters(config: PointerGeneratorConfig) -> dict[str, ParamSpec]:
        """Declare the parameters; the first predictions are almost uniform."""
        c = config
        D, H, M, V = c.embedding, c.hidden, 2 * c.hidden, c.vocabulary + 1
        params = {"embedding.E": ParamSpec((V, D), normal(D**-0.5), "table", 0)}
        for layer in range(c.layers):
            encoder = recurrent.new_layer(f"encoder.{layer}", c.cell, M if layer else D, H, True)
            params |= at_depth(1 + layer, encoder)
            for name in recurrent.CELLS[c.cell].state:
                params |= dense.new_layer(f"bridge.{layer}.{name}", M, H)
            params |= recurrent.new_layer(f"decoder.{layer}", c.cell, H if layer else D, H)
        params["attention.W"] = ParamSpec((H, M), uniform(H**-0.5))
        params |= dense.new_layer("combine", M + H, D)
        params |= dense.new_layer("gate", D, 1)
        params["output.b"] = ParamSpec((V,))
        return params

    # --- training -------------------------------------------------------------

    def loss(self, batch: Batch, rng: Rng = None) -> tuple[np.floating, Backward]:
        """The mean of -log P of the targets, each token given the tokens before it.

        batch is source (B, S), source lengths (B,), target (B, T), target lengths (B,); a word of
        the source that the vocabulary lacks has an id above V, in both.  A target ends with EOS,
        unless it was cut.  With rng, it is the training loss, with dropout and coverage.  Without,
        it is in nats per target token.  ``backward()`` -> gradients keyed as ``params``.
        """
        source, source_lengths, targets, lengths = batch
        targets = checks.ids("loss", "target", targets, self.words(source))
        lengths = checks.sequence_lengths("loss", lengths, *targets.shape)
        real = length_mask(lengths, targets.shape[1])  # (B, T): the padding has no logits
        state, encode_backward = self.encode(source, source_lengths, rng)
        inputs = teacher_forcing(targets, self.config.bos)
        (a, weights), decode_backward = self.decode(inputs, state, rng)
        (logits, gates), output_backward = self.output(a[real])
        copied, copied_backward = ops.copied_probability(weights, source, targets)
        loss, loss_backward = ops.pointer_cross_entropy(logits, gates, copied[real], targets[real])
        repeated, coverage_backward = ops.coverage(weights, lengths)
        coverage = 0.0 if rng is None else self.config.coverage

        def backward():
            dlogits, dgates, dpossible = loss_backward()
            drows, of_output = output_backward(dlogits, dgates)
            da, dcopied = np.zeros_like(a), np.zeros_like(copied)
            da[real], dcopied[real] = drows, dpossible
            dweights = copied_backward(dcopied)
            if coverage > 0:
                dweights += coverage_backward(coverage)
            dstate, of_decoder = decode_backward(da, dweights)
            return merge_gradients(of_output, of_decoder, encode_backward(dstate))

        return loss + loss.dtype.type(coverage) * repeated, backward

    # --- the encoder ----------------------------------------------------------

    def words(self, source: NDArray) -> int:
        """The number of different ids: V, EOS, and a new word for each position of the source."""
        return self.config.vocabulary + 1 + source.shape[-1]

    def known(self, ids: Ids) -> Ids:
        """The ids as the model reads them: a word outside of the vocabulary is unknown."""
        return np.where(ids > self.config.vocabulary, self.config.unknown, ids)

    def encode(self, source: NDArray, lengths: NDArray, rng: Rng = None) -> tuple[State, Backward]:
        """source (B, S), lengths (B,) -> the decoder's first state, with the memory.

        ``backward(dstate)`` -> gradients.
        """
        c, p = self.config, self.params
        source = checks.ids("encode", "source", source, self.words(source))
        known = self.known(source)
        zero = recurrent.zero_state(p, "encoder", c.cell, c.layers, len(source))
        (memory, last), encoder_backward = recurrent.stack_over_ids(
            p, "encoder", "embedding.E", known, zero, c.cell, c.layers, lengths, c.dropout, rng
        )  # (B, S, M)
        state, bridge_backward = recurrent.bridge(p, last)

        def backward(dstate):
            dlast, of_bridge = bridge_backward(dstate)
            _dzero, of_encoder = encoder_backward(dstate["memory.values"], dlast)
            return merge_gradients(of_encoder, of_bridge)

        memory_of_source = {
            "memory.values": memory,
            "memory.source": source,
            "memory.lengths": np.array(lengths),
        }
        return state | memory_of_source, backward

    # --- the decoder ----------------------------------------------------------

    def decode(
        self, inputs: NDArray, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, NDArray], Callable]:
        """inputs (B, T) -> attentional states a (B, T, D), attention weights (B, T, S).

        ``backward(da, dweights)`` -> dstate, gradients.
        """
        c, p, known = self.config, self.params, self.known(inputs)
        (hs, _), decoder_backward = recurrent.stack_over_ids(
            p, "decoder", "embedding.E", known, state, c.cell, c.layers, None, c.dropout, rng
        )  # (B, T, H)
        outputs, attentional_backward = self.attentional_state(hs, state, rng)

        def backward(da, dweights):
            dhs, dmemory, of_attention = attentional_backward(da, dweights)
            dfirst, of_decoder = decoder_backward(dhs, whole=True)  # the encoder needs all of it
            return dfirst | {"memory.values": dmemory}, merge_gradients(of_attention, of_decoder)

        return outputs, backward

    def attentional_state(
        self, hs: NDArray, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, NDArray], Callable]:
        """a = tanh([w memory, h] W + b), w = softmax(h W memory^T).

        hs (B, T, H) -> a (B, T, D), attention weights w (B, T, S).
        ``backward(da, dweights)`` -> dhs, dmemory, gradients.
        """
        p, memory = self.params, state["memory.values"]
        M = memory.shape[-1]
        (context, weights), attend_backward = ops.multiplicative_attention(
            hs, memory, memory, p["attention.W"], state["memory.lengths"]
        )  # (B, T, M)
        both = np.concatenate([context, hs], axis=-1)
        a, combine_backward = dense.layer(p, "combine", both, ops.tanh)
        a, dropout_backward = ops.dropout(a, self.config.dropout, rng)

        def backward(da, dweights):
            dboth, gradients = combine_backward(dropout_backward(da))
            # the memory serves as keys and as values
            dhs, dkeys, dvalues, dW = attend_backward(dboth[..., :M], dweights)
            return dhs + dboth[..., M:], dkeys + dvalues, gradients | {"attention.W": dW}

        return (a, weights), backward

    def output(self, a: NDArray) -> tuple[tuple[NDArray, NDArray], Callable]:
        """The logits a E^T + b of the vocabulary, and of the gate.

        a (..., D) -> logits (..., V + 1), gates (...).
        ``backward(dlogits, dgates)`` -> da, gradients.
        """
        p = self.params
        logits, logits_backward = dense.affine(p, "embedding.E", a, "output.b", transposed=True)
        gates, gate_backward = dense.layer(p, "gate", a)

        def backward(dlogits, dgates):
            da, of_logits = logits_backward(dlogits)
            dgate, of_gate = gate_backward(dgates[..., None])
            return da + dgate, of_logits | of_gate

        return (logits, gates[..., 0]), backward
