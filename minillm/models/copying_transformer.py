"""The Transformer with copying: one more head of cross-attention points to the word to copy.

    memory, y = Transformer(source, target)             an output for each token of both
    w_t = softmax(y_t W_q (memory W_k)^T / sqrt(H))     one head, without values
    p_t = softmax(y_t E^T)                              a word from the vocabulary
    g_t = sigmoid(y_t W + b)                            the probability of taking it
    P(target_t) = g_t p_t[target_t] + (1 - g_t) sum of w_tj over j with source_j = target_t

The Transformer is the one of :mod:`minillm.models.transformer` with one vocabulary for both sides,
and its weights keep their names, so a pre-trained one can learn to copy.  Words outside of the
vocabulary are treated as in :mod:`minillm.models.pointer_generator`: the k-th new word of a source
has the id V + 1 + k, is read as the unknown word, and can only be copied.

The heads of the blocks gather what is needed to predict the next word, often from several words at
once.  A head of its own, above all blocks, is free to point to a single one.

Legend: B batch, S source steps, T target steps, D width, N heads, H = D/N width of a head,
V vocabulary.

Sources: Vaswani et al. (2017), "Attention is all you need"; See, Liu and Manning (2017), "Get to
the point: summarization with pointer-generator networks"; Gehrmann, Deng and Rush (2018),
"Bottom-up abstractive summarization", whose Transformer copies with one of its blocks' own heads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers import dense, embedding
from minillm.layers.fresh import Fresh, glorot
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Ids, Rng
from minillm.models import base, sizes
from minillm.models.encoder_decoder import Batch
from minillm.models.teacher_forcing import teacher_forcing
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.ops.padding import length_mask


@dataclass(frozen=True)
class CopyingTransformerConfig:
    """The sizes of a Transformer with copying."""

    vocabulary: int  # V, without BOS and EOS
    unknown: int = 0  # the id that words outside of the vocabulary are read as
    layers: int = TransformerConfig.layers  # of the encoder, and of the decoder
    heads: int = TransformerConfig.heads  # N
    width: int = TransformerConfig.width  # D
    feed_forward: int = TransformerConfig.feed_forward
    post_norm: bool = TransformerConfig.post_norm
    dropout: float = TransformerConfig.dropout
    coverage: float = 0.0  # the weight of the coverage loss

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary")
        sizes.check_at_least(self, 0, "unknown", "coverage")
        if self.unknown >= self.vocabulary:
            raise ValueError(
                f"unknown: expected an id below {self.vocabulary}, found {self.unknown}"
            )
        self.transformer()

    def transformer(self) -> TransformerConfig:
        """The sizes of the Transformer, which checks them."""
        return TransformerConfig(
            source_vocabulary=self.vocabulary,
            target_vocabulary=self.vocabulary,
            layers=self.layers,
            heads=self.heads,
            width=self.width,
            feed_forward=self.feed_forward,
            post_norm=self.post_norm,
            shared=True,
            dropout=self.dropout,
        )

    @property
    def bos(self) -> int:
        """The id that stands before the first token of a target, and after the last."""
        return self.vocabulary

    eos = bos


class CopyingTransformer(base.Model[CopyingTransformerConfig]):
    """A Transformer, a head that points, and a gate.

    ``params``: the weights of the Transformer; ``pointer.W_q`` and ``pointer.W_k`` (D, H);
    ``gate.W`` (D, 1) and ``gate.b``.
    """

    @staticmethod
    def new_parameters(config: CopyingTransformerConfig) -> dict[str, Fresh]:
        """Declare the parameters."""
        D, H = config.width, config.width // config.heads
        params = Transformer.new_parameters(config.transformer())
        params |= {f"pointer.{W}": Fresh((D, H), glorot, "matrix") for W in ("W_q", "W_k")}
        return params | dense.new_layer("gate", D, 1)

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
        inputs = teacher_forcing(targets, self.config.bos)
        memory, encode_backward = self.encode(source, source_lengths, rng)
        (y, weights), decode_backward = self.decode(inputs, memory, source_lengths, rng)
        (logits, gates), output_backward = self.output(y[real])
        copied, copied_backward = ops.copied_probability(weights, source, targets)
        loss, loss_backward = ops.pointer_cross_entropy(logits, gates, copied[real], targets[real])
        repeated, coverage_backward = ops.coverage(weights, lengths)
        coverage = 0.0 if rng is None else self.config.coverage

        def backward():
            dlogits, dgates, dpossible = loss_backward()
            drows, of_output = output_backward(dlogits, dgates)
            dy, dcopied = np.zeros_like(y), np.zeros_like(copied)
            dy[real], dcopied[real] = drows, dpossible
            dweights = copied_backward(dcopied)
            if coverage > 0:
                dweights += coverage_backward(coverage)
            dmemory, of_decoder = decode_backward(dy, dweights)
            return merge_gradients(of_output, of_decoder, encode_backward(dmemory))

        return loss + loss.dtype.type(coverage) * repeated, backward

    def transformer(self) -> Transformer:
        """The Transformer, which shares its arrays."""
        return self.part(Transformer, self.config.transformer())

    def words(self, source: NDArray) -> int:
        """The number of different ids: V, EOS, and a new word for each position of the source."""
        return self.config.vocabulary + 1 + source.shape[-1]

    def known(self, ids: Ids) -> Ids:
        """The ids as the model reads them: a word outside of the vocabulary is unknown."""
        return np.where(ids > self.config.vocabulary, self.config.unknown, ids)

    def encode(
        self, source: NDArray, lengths: NDArray, rng: Rng = None
    ) -> tuple[NDArray, Backward]:
        """source (B, S), lengths (B,) -> memory (B, S, D).  ``backward(dmemory)`` -> gradients."""
        source = checks.ids("encode", "source", source, self.words(source))
        return self.transformer().encode(self.known(source), lengths, rng)

    def decode(
        self, inputs: NDArray, memory: NDArray, lengths: NDArray, rng: Rng = None
    ) -> tuple[tuple[NDArray, NDArray], Callable]:
        """inputs (B, T), memory (B, S, D), lengths (B,) -> y (B, T, D), copying weights (B, T, S).

        ``backward(dy, dweights)`` -> dmemory, gradients.
        """
        y, decode_backward = self.transformer().decode(self.known(inputs), memory, lengths, rng)
        weights, point_backward = self.point(y, memory, lengths)

        def backward(dy, dweights):
            dy_here, dpointed, of_pointer = point_backward(dweights)
            dmemory, of_decoder = decode_backward(dy + dy_here)
            return dmemory + dpointed, merge_gradients(of_pointer, of_decoder)

        return (y, weights), backward

    def point(self, y: NDArray, memory: NDArray, lengths: Ids) -> tuple[NDArray, Callable]:
        """The probability of copying each position: softmax(y W_q (memory W_k)^T / sqrt(H)).

        y (B, T, D), memory (B, S, D), lengths (B,) -> w (B, T, S).
        ``backward(dw)`` -> dy, dmemory, gradients.
        """
        queries, query_backward = dense.layer(self.params, "pointer", y, suffix="_q")
        keys, key_backward = dense.layer(self.params, "pointer", memory, suffix="_k")
        scale = self.dtype.type(keys.shape[-1] ** -0.5)
        (_, weights), attend_backward = ops.multiplicative_attention(
            scale * queries, keys, keys, None, lengths
        )

        def backward(dw):
            dscaled, dkeys, _ = attend_backward(None, dw)  # the context is not used
            dy, of_queries = query_backward(scale * dscaled)
            dmemory, of_keys = key_backward(dkeys)
            return dy, dmemory, of_queries | of_keys

        return weights, backward

    def output(self, y: NDArray) -> tuple[tuple[NDArray, NDArray], Callable]:
        """The logits y E^T of the vocabulary, and of the gate.

        y (..., D) -> logits (..., V + 1), gates (...).
        ``backward(dlogits, dgates)`` -> dy, gradients.
        """
        logits, logits_backward = embedding.output(self.params, "embedding.E", y)
        gates, gate_backward = dense.layer(self.params, "gate", y)

        def backward(dlogits, dgates):
            dy, of_logits = logits_backward(dlogits)
            dgate, of_gate = gate_backward(dgates[..., None])
            return dy + dgate, of_logits | of_gate

        return (logits, gates[..., 0]), backward
