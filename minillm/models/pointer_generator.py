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
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers import attention, dense, recurrent
from minillm.layers.fresh import ParamSpec, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Ids, Rng, State
from minillm.models import sizes
from minillm.models.encoder_decoder import Batch, EncoderDecoder, new_recurrences
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

    bidirectional: ClassVar[bool] = True
    attention: ClassVar[str] = "general"

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "embedding", "hidden", "layers")
        sizes.check_at_least(self, 0, "unknown", "coverage")
        sizes.check_one_of(self, "cell", tuple(recurrent.CELLS))
        sizes.check_below_one(self, "dropout")
        if self.unknown >= self.vocabulary:
            raise sizes.wrong(self, "unknown", f"an id below {self.vocabulary}")

    @property
    def memory(self) -> int:
        """M, the width of an encoder output."""
        return 2 * self.hidden


class PointerGenerator(EncoderDecoder):
    """A recurrent encoder-decoder whose attention also points to the word to copy.

    ``params``: ``embedding.E`` (V + 1, D); ``encoder.0.forward.W_x``, ``encoder.0.reverse.W_x``
    and so on; ``bridge.0.h.W`` and so on, from the encoder's last states to the decoder's first;
    ``decoder.0.W_x`` and so on; ``attention.W`` (H, M); ``combine.W`` (M + H, D) and
    ``combine.b``; ``gate.W`` (D, 1) and ``gate.b``; ``output.b`` (V + 1).

    A decoder's state has also ``memory.source`` (B, S), the ids that can be copied.
    """

    config: PointerGeneratorConfig  # type: ignore[assignment]
    source_E = target_E = "embedding.E"

    @staticmethod
    def new_parameters(config: PointerGeneratorConfig) -> dict[str, ParamSpec]:  # type: ignore[override]
        """Declare the parameters; the first predictions are almost uniform."""
        c = config
        D, H, M, V = c.embedding, c.hidden, c.memory, c.vocabulary + 1
        params = {"embedding.E": ParamSpec((V, D), normal(D**-0.5), "table", 0)}
        params |= new_recurrences(c)
        params |= attention.KINDS[c.attention].new_layer("attention", H, M)
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
        source = checks.ids("encode", "source", source, self.words(source))
        state, backward = super().encode(self.known(source), lengths, rng)
        return state | {"memory.source": source}, backward

    def decode(
        self, inputs: NDArray, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, Any], Callable]:
        """inputs (B, T) -> attentional states a (B, T, D), attention weights (B, T, S).

        ``backward(da, dweights)`` -> dstate, gradients.
        """
        return super().decode(self.known(inputs), state, rng)

    # --- the output -----------------------------------------------------------

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
