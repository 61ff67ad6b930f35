"""The Transformer: from one sequence to another by attention alone.

    x = sqrt(D) E[source] + P                   the token and its position
    x = block(x)                                L times: self-attention, feed-forward
    memory = x                                  an output for each source token
    y = sqrt(D) E[BOS, target without its last token] + P
    y = block(y, memory)                        L times: self-, cross-attention, feed-forward
    P(target_t | target_1 .. target_{t-1}, source) = softmax(y_t W_out)

This is figure 1 of the paper.  In training, no step waits for the one before it, unlike in a
recurrent encoder-decoder.  Every token is one attention away from every other.  The decoder attends
to the source in each layer, with N heads that may look at different places.  It writes token by
token, like any model, and keeps the keys and values of past tokens
(:mod:`minillm.decoding.hypotheses`).

The order is the paper's, "post-norm", or the order of later models, "pre-norm", which needs a norm
after each stack (see :mod:`minillm.layers.block`).  The paper uses one matrix for the embeddings of
source and target and for the output layer (``shared``).  That needs one vocabulary for both sides.
``tied`` shares it only between target and output.

Legend: B batch, S source steps, T target steps, D width, F hidden width of the feed-forward
layers, N heads, L layers, V target vocabulary.

Sources: Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin (2017),
"Attention is all you need"; Press and Wolf (2017), "Using the output embedding to improve
language models"; for the layer whose attention is the alignment, Garg, Peitz, Nallasamy and
Paulik (2019), "Jointly learning to align and translate with Transformer models", section 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, stack
from minillm.layers.block import Branch, new_block, post_norm, pre_norm
from minillm.layers.dense import feed_forward
from minillm.layers.fresh import ParamSpec, at_depth, glorot, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import Attend, causal, cross_attention, self_attention, to_all
from minillm.layers.norms import new_norm
from minillm.layers.positions import sinusoids
from minillm.layers.types import Backward, Rng
from minillm.models import base, sizes
from minillm.models.encoder_decoder import Batch
from minillm.models.teacher_forcing import TargetConfig, target_loss, teacher_forcing


@dataclass(frozen=True)
class TransformerConfig(TargetConfig):
    """The sizes of a Transformer, and its variants."""

    source_vocabulary: int
    target_vocabulary: int  # V, without BOS and EOS
    layers: int = 4  # L, of each
    heads: int = 4  # N
    width: int = 128  # D
    feed_forward: int = 512  # F
    post_norm: bool = False
    shared: bool = False
    tied: bool = True
    dropout: float = 0.1
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "source_vocabulary", "target_vocabulary")
        sizes.check_at_least(self, 1, "layers", "heads", "width", "feed_forward")
        sizes.check_below_one(self, "dropout", "label_smoothing")
        sizes.check_divides(self, "heads", "width")
        if self.width % 2:
            raise sizes.wrong(self, "width", "an even number")
        if self.shared and self.source_vocabulary != self.target_vocabulary:
            raise sizes.wrong(self, "shared", "False for vocabularies of two sizes")


class Transformer(base.Model[TransformerConfig]):
    """An encoder and a decoder of L blocks each.

    ``params``: ``source.E`` (tokens, D) and ``target.E`` (V + 1, D), or, if shared, one
    ``embedding.E`` (V + 1, D); ``encoder.0.attention.W_qkv`` and ``decoder.0.cross.W_q`` and so
    on, as :func:`minillm.layers.block.new_block` names them; with pre-norm
    ``encoder.norm.gain|bias`` and ``decoder.norm.gain|bias``; ``output.W`` and ``output.b`` unless
    the output layer is tied.
    """

    @staticmethod
    def new_parameters(config: TransformerConfig) -> dict[str, ParamSpec]:
        """Declare the parameters: matrices follow Glorot and Bengio (2010, equation 12).

        Embeddings have the deviation 1 / sqrt(D); the factor sqrt(D) scales them to one.
        """
        c = config
        D, F, V = c.width, c.feed_forward, c.target_vocabulary + 1
        rows = {"embedding.E": V} if c.shared else {"source.E": c.source_vocabulary, "target.E": V}
        params = {
            name: ParamSpec((n, D), normal(D**-0.5), "table", None if name == "target.E" else 0)
            for name, n in rows.items()
        }
        for layer in range(c.layers):
            params |= at_depth(1 + layer, new_block(f"encoder.{layer}", D, F, glorot))
        if not c.post_norm:
            params |= new_norm("encoder.norm", D)
        for layer in range(c.layers):
            params |= new_block(f"decoder.{layer}", D, F, glorot, cross=True)
        if not c.post_norm:
            params |= new_norm("decoder.norm", D)
        if not (c.tied or c.shared):
            params |= dense.new_layer("output", D, V)
        return params

    def loss(self, batch: Batch, rng: Rng = None) -> tuple[np.floating, Backward]:
        """The mean cross-entropy of the targets, each token given the tokens before it.

        batch is source (B, S), source lengths (B,), target (B, T), target lengths (B,).
        A target ends with EOS, and its length includes it: target[b, lengths[b] - 1] is
        ``config.eos``.  With rng, it is the training loss, with dropout and label smoothing.
        Without, it is in nats per target token.  ``backward()`` -> gradients.
        """
        source, source_lengths, target, target_lengths = batch
        memory, encode_backward = self.encode(source, source_lengths, rng)
        inputs = teacher_forcing(target, self.config.bos)
        y, decode_backward = self.decode(inputs, memory, source_lengths, rng)
        smoothing = 0.0 if rng is None else self.config.label_smoothing
        loss, loss_backward = target_loss(self.output(), y, target, target_lengths, smoothing)

        def backward():
            dy, of_output = loss_backward()
            dmemory, of_decoder = decode_backward(dy)
            of_encoder = {} if dmemory is None else encode_backward(dmemory)
            if self._tied:
                of_output = {self.target_E: of_output["output.W"].T}
            return merge_gradients(of_decoder, of_output, of_encoder)  # E has up to three uses

        return loss, backward

    # --- the equations ----------------------------------------------------------

    def encode(
        self, source: NDArray, lengths: NDArray, rng: Rng = None
    ) -> tuple[NDArray, Backward]:
        """source (B, S), lengths (B,) -> memory (B, S, D).

        ``backward(dmemory)`` -> gradients.
        """
        embedded, attend, p = self.embed(self.source_E, source, rng), to_all(lengths), self.params
        blocks = {
            name: partial(self.block, name, attend=attend, rng=rng)
            for name in (f"encoder.{layer}" for layer in range(self.config.layers))
        }
        return stack.stacked(p, embedded, blocks, [self.source_E], "encoder.norm")

    def decode(
        self, inputs: NDArray, memory: NDArray, lengths: NDArray, rng: Rng = None
    ) -> tuple[NDArray, Callable]:
        """inputs (B, T), memory (B, S, D), lengths (B,) -> y (B, T, D).

        ``backward(dy)`` -> dmemory, gradients.
        """
        embedded, p, blocks = self.embed(self.target_E, inputs, rng), self.params, {}

        def to_memory(name, x):
            return cross_attention(p, f"{name}.cross", x, memory, lengths, self.config.heads)

        for name in (f"decoder.{layer}" for layer in range(self.config.layers)):
            cross = partial(to_memory, name)
            blocks[name] = partial(self.block, name, attend=causal, rng=rng, cross=cross)
        below = self.target_E, self.source_E, "encoder"
        y, stack_backward = stack.stacked(p, embedded, blocks, below, "decoder.norm")

        def backward(dy):
            gradients = stack_backward(dy)
            return gradients.pop("shared", None), gradients  # every layer attends to the memory

        return y, backward

    def embed(
        self, E: str, ids: NDArray, rng: Rng = None, start: int = 0
    ) -> tuple[NDArray, Backward]:
        """sqrt(D) E[ids] + P, with dropout: ids (B, T), at the positions from ``start`` on
        -> x (B, T, D).  ``backward(dx)`` -> gradients."""
        c, scale = self.config, self.dtype.type(self.config.width**0.5)
        rows, embedding_backward = embedding.layer(self.params, {E: ids})  # (B, T, D)
        places = sinusoids(start + np.arange(ids.shape[1]), c.width, self.dtype.type)
        x, dropout_backward = ops.dropout(scale * rows + places, c.dropout, rng)
        return x, lambda dx: embedding_backward(scale * dropout_backward(dx))

    def block(
        self, prefix: str, x: NDArray, attend: Attend, rng: Rng = None, cross: Branch | None = None
    ) -> tuple[NDArray, Callable]:
        """Self-attention, in a decoder attention to the memory, feed-forward: x (B, T, D) -> same.

        ``backward(dy)`` -> dx, in a decoder dmemory, gradients.
        """
        p, c = self.params, self.config

        def attention(x):
            return self_attention(p, f"{prefix}.attention", x, c.heads, attend)

        def transform(x):
            return feed_forward(p, f"{prefix}.feed_forward", x, ops.relu)

        each = [attention, transform] if cross is None else [attention, cross, transform]
        branches = {f"{prefix}.norm_{number}": branch for number, branch in enumerate(each, 1)}
        residual = post_norm if c.post_norm else pre_norm
        return residual(p, branches, x, c.dropout, rng)

    def output(self) -> dict[str, NDArray]:
        """The weights of the output layer; tied, they are the transposed embeddings."""
        return {"output.W": self.params[self.target_E].T} if self._tied else self.params

    @property
    def source_E(self) -> str:
        """The name of the source's embeddings."""
        return "embedding.E" if self.config.shared else "source.E"

    @property
    def target_E(self) -> str:
        """The name of the target's embeddings."""
        return "embedding.E" if self.config.shared else "target.E"

    @property
    def _tied(self) -> bool:
        return self.config.tied or self.config.shared
