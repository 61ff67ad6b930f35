"""The Transformer: from one sequence to another by attention alone.

    x = sqrt(D) E[source] + P                   what a token is, and where it stands
    x = encoder_block(x)                        L times: self-attention, feed-forward
    memory = x                                  an output for each source token
    y = sqrt(D) E[BOS, target without its last token] + P
    y = decoder_block(y, memory)                L times: self-, cross-attention, feed-forward
    P(target_t | target_1 .. target_{t-1}, source) = softmax(y_t W_out)

It is figure 1 of the paper.  Compared with the recurrent encoder-decoder, no step waits for the
one before it, in training; every token is one attention away from every other; and it attends to
the source in each layer, with N heads that may look at different places.  When it writes, it is
as sequential as any: token by token, with the keys and values of those before it kept.

The order is the paper's, "post-norm", or that of later models, "pre-norm", which needs a norm
after each stack (see :mod:`minillm.layers.encoder`).  Of the embeddings of source and target and
the output layer the paper has one matrix (``shared``), which needs a vocabulary for both
sides; ``tied`` alone shares it between target and output.

Legend: B batch, S source steps, T target steps, D width, F hidden width of the feed-forward
layers, N heads, L layers, V target vocabulary, K hypotheses of one source.

Sources: Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin (2017),
"Attention is all you need"; Press and Wolf (2017), "Using the output embedding to improve
language models"; for the layer whose attention is the alignment, Garg, Peitz, Nallasamy and
Paulik (2019), "Jointly learning to align and translate with Transformer models", section 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import decoder, dense, encoder, transformer
from minillm.layers.dropout import dropout
from minillm.layers.fresh import Fresh, glorot, normal
from minillm.layers.gradients import any_trained, merge_gradients
from minillm.layers.positions import sinusoids
from minillm.models import base, sizes
from minillm.models.base import Gradients, State
from minillm.models.encoder_decoder import Batch
from minillm.models.target import target_loss, teacher_forcing

GROWTH = 2  # of the pool of keys and values, where it is full


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of a Transformer, and its variants: everything but its weights."""

    source_vocabulary: int
    target_vocabulary: int  # V, without BOS and EOS
    layers: int = 4  # L, of each
    heads: int = 4  # N
    width: int = 256  # D
    feed_forward: int = 1024  # F
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
            raise ValueError(f"width must be even, for sines and cosines, found {self.width}")
        if self.shared and self.source_vocabulary != self.target_vocabulary:
            raise ValueError(
                "shared embeddings need one vocabulary, found "
                f"{self.source_vocabulary} source and {self.target_vocabulary} target tokens"
            )

    @property
    def bos(self) -> int:
        """The id that stands before the first token of a target."""
        return self.target_vocabulary

    @property
    def eos(self) -> int:
        """The id that stands after the last token of a target; the same one."""
        return self.target_vocabulary


class Transformer(base.Model[TransformerConfig]):
    """An encoder and a decoder of L blocks each.

    ``params``: ``source.E`` (tokens, D) and ``target.E`` (V + 1, D), or, shared, one
    ``embedding.E`` (V + 1, D); ``encoder.0.attention.W_qkv`` and ``decoder.0.cross.W_q`` and so
    on, as :mod:`minillm.layers.encoder` and :mod:`minillm.layers.decoder` name them; with
    pre-norm ``encoder.norm.gain|bias`` and ``decoder.norm.gain|bias``; ``output.W`` and
    ``output.b`` where the output layer has a matrix of its own.

    A decoder's state is explained at :meth:`start`.
    """

    @staticmethod
    def new_parameters(config: TransformerConfig) -> dict[str, Fresh]:
        """Fresh parameters: matrices as Glorot and Bengio (2010, equation 16) draw them.

        Embeddings have the deviation 1 / sqrt(D), and so are of size one where they are read.
        """
        c = config
        D, F, V = c.width, c.feed_forward, c.target_vocabulary + 1
        rows = {"embedding.E": V} if c.shared else {"source.E": c.source_vocabulary, "target.E": V}
        params = {name: Fresh((n, D), normal(D**-0.5)) for name, n in rows.items()}
        for side, blocks in (("encoder", encoder), ("decoder", decoder)):
            for layer in range(c.layers):
                params |= blocks.new_block(f"{side}.{layer}", D, F, glorot)
            if not c.post_norm:
                params |= transformer.new_norm(f"{side}.norm", D)
        if not (c.tied or c.shared):
            params |= dense.new_layer("output", D, V)
        return params

    @property
    def _source_E(self) -> str:
        return "embedding.E" if self.config.shared else "source.E"

    @property
    def _target_E(self) -> str:
        return "embedding.E" if self.config.shared else "target.E"

    @property
    def _tied(self) -> bool:
        return self.config.tied or self.config.shared

    # --- training -------------------------------------------------------------

    def loss(
        self, batch: Batch, rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Callable[[], Gradients]]:
        """The mean cross-entropy of the targets, each token given those before it.

        batch is source (B, S), source lengths (B,), target (B, T), target lengths (B,);
        a target ends with EOS, which its length counts: target[b, lengths[b] - 1] is
        ``config.eos``.  With rng it is the loss to train on: with dropout and label smoothing.
        Without, it is in nats per target token.  ``backward()`` -> gradients keyed as ``params``.
        """
        source, source_lengths, target, target_lengths = batch
        memory, encode_backward = self._encode(source, source_lengths, rng)
        inputs = teacher_forcing(target, self.config.bos)
        y, decode_backward = self._decode(inputs, memory, source_lengths, rng)
        smoothing = 0.0 if rng is None else self.config.label_smoothing
        loss, loss_backward = target_loss(self._output(), y, target, target_lengths, smoothing)

        def backward(trained=None):
            dy, of_output = loss_backward()
            dmemory, of_decoder = decode_backward(dy, trained)
            if self._tied:
                of_output = {self._target_E: of_output["output.W"].T}
            # one matrix may have two uses, or three
            return merge_gradients(of_decoder, of_output, encode_backward(dmemory, trained))

        return loss, backward

    def _encode(
        self, source: NDArray, lengths: NDArray, rng: np.random.Generator | None = None
    ) -> tuple[NDArray, Callable[[NDArray], Gradients]]:
        """source (B, S), lengths (B,) -> memory (B, S, D).  ``backward(dmemory)`` -> gradients."""
        c = self.config
        x, embed_backward = self._embed(self._source_E, source, rng)
        backwards = []
        for layer in range(c.layers):
            x, block_backward = encoder.encoder_block(
                self.params, f"encoder.{layer}", x, c.heads, lengths, **self._options(rng)
            )
            backwards.append(block_backward)
        memory, norm_backward = self._last_norm("encoder.norm", x)

        def backward(dmemory, trained=None):
            dx, gradients = norm_backward(dmemory)
            for layer in reversed(range(c.layers)):
                below = (f"encoder.{n}." for n in range(layer + 1))
                if not any_trained(trained, self._source_E, *below):
                    return gradients
                dx, of_block = backwards[layer](dx, trained)
                gradients = merge_gradients(gradients, of_block)
            return merge_gradients(gradients, embed_backward(dx))

        return memory, backward

    def _decode(
        self,
        inputs: NDArray,
        memory: NDArray,
        lengths: NDArray,
        rng: np.random.Generator | None = None,
    ) -> tuple[NDArray, Callable[[NDArray], tuple[NDArray, Gradients]]]:
        """inputs (B, T), memory (B, S, D), lengths (B,) -> y (B, T, D).

        ``backward(dy)`` -> dmemory, gradients.
        """
        c = self.config
        x, embed_backward = self._embed(self._target_E, inputs, rng)
        backwards = []
        for layer in range(c.layers):
            x, block_backward = decoder.decoder_block(
                self.params, f"decoder.{layer}", x, memory, lengths, c.heads, **self._options(rng)
            )
            backwards.append(block_backward)
        y, norm_backward = self._last_norm("decoder.norm", x)

        def backward(dy, trained=None):
            dx, gradients = norm_backward(dy)
            dmemory = np.zeros_like(memory)
            for block_backward in reversed(backwards):
                dx, dmemory_here, of_block = block_backward(dx, trained)
                dmemory += dmemory_here  # every layer looks at it
                gradients = merge_gradients(gradients, of_block)
            return dmemory, merge_gradients(gradients, embed_backward(dx))

        return y, backward

    def _embed(
        self, E: str, ids: NDArray, rng: np.random.Generator | None = None, start: int = 0
    ) -> tuple[NDArray, Callable[[NDArray], Gradients]]:
        """sqrt(D) E[ids] + P, dropped out: ids (B, T), at the positions from ``start`` on
        -> x (B, T, D).  ``backward(dx)`` -> gradients."""
        c, scale = self.config, self.dtype.type(self.config.width**0.5)
        rows, embedding_backward = ops.embedding(ids, self.params[E])  # (B, T, D)
        places = sinusoids(start + np.arange(ids.shape[1]), c.width, self.dtype.type)
        x, dropout_backward = dropout(scale * rows + places, c.dropout, rng)

        def backward(dx):
            return {E: embedding_backward(scale * dropout_backward(dx))}

        return x, backward

    def _last_norm(self, prefix: str, x: NDArray) -> tuple[NDArray, Callable]:
        """The norm that pre-norm needs after a stack.  ``backward(dy)`` -> dx, gradients."""
        if self.config.post_norm:
            return x, lambda dy: (dy, {})
        return transformer.norm(self.params, prefix, x)

    def _options(self, rng: np.random.Generator | None) -> dict[str, Any]:
        """What all blocks are told."""
        return {"post_norm": self.config.post_norm, "rate": self.config.dropout, "rng": rng}

    def _output(self) -> dict[str, NDArray]:
        """The weights of the output layer; tied, they are the transposed embeddings."""
        if self._tied:
            return {"output.W": self.params[self._target_E].T}
        return self.params

    # --- decoding: what beam search and sampling ask of a model -----------------

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """Reads sources (B, S): the state before the first step, of one hypothesis each.

        A state has the keys and values of the sources, ``memory.0.keys`` (B, N, S, D/N) and so on;
        those of all target tokens that were ever read, ``shared.0.keys`` (R, D) and so on, in the
        order in which they were read, ``shared.count`` (1,) of them; and ``past`` (B, K, T), the
        rows that belong to each hypothesis.  So nothing but ``past`` has to be copied when
        hypotheses are selected.
        """
        c = self.config
        memory, _ = self._encode(source, lengths)
        state = {
            "past": np.zeros((len(source), 1, 0), np.int64),
            "memory.lengths": lengths,
            "shared.count": np.zeros(1, np.int64),
        }
        for layer in range(c.layers):
            (k, v), _ = decoder.keys_and_values(
                self.params, f"decoder.{layer}.cross", memory, c.heads
            )
            state |= {f"memory.{layer}.keys": k, f"memory.{layer}.values": v}
            for name in ("keys", "values"):
                state[f"shared.{layer}.{name}"] = np.empty((0, c.width), self.dtype)
        return state

    def step(self, ids: NDArray, state: State) -> tuple[NDArray, NDArray, State]:
        """One step of K hypotheses of each source, which share its memory.

        ids (B, K) -> logits (B, K, V + 1), attention weights (B, K, S), new state.  The weights
        are the mean over the heads of the last layer but one: of all layers' they come closest
        to which source word a target word translates.
        """
        layer = max(self.config.layers - 2, 0)
        logits, weights, state = self._step(ids, state, layer)
        return logits, weights.mean(axis=1), state

    def attention_weights(
        self, source: NDArray, lengths: NDArray, target: NDArray, layer: int
    ) -> NDArray:
        """How much each head of a layer attends to each source token, before it writes each of
        the target tokens: source (B, S), lengths (B,), target (B, T) -> (B, N, T, S)."""
        state, weights = self.start(source, lengths), []
        inputs = teacher_forcing(target, self.config.bos)
        for t in range(target.shape[1]):
            _, at_t, state = self._step(inputs[:, t : t + 1], state, layer)
            weights.append(at_t)
        return np.concatenate(weights, axis=2)

    def _step(self, ids: NDArray, state: State, shown: int) -> tuple[NDArray, NDArray, State]:
        """As :meth:`step`, with the weights of all heads of the layer ``shown``: (B, N, K, S)."""
        c, lengths = self.config, state["memory.lengths"]
        B, K, T = state["past"].shape
        x, _ = self._embed(self._target_E, ids.reshape(B * K, 1), start=T)
        x = x.reshape(B, K, c.width)
        state = _with_room(state, B * K)
        for layer in range(c.layers):
            pool, memory = (
                (state[f"{whose}.{layer}.keys"], state[f"{whose}.{layer}.values"])
                for whose in ("shared", "memory")
            )
            prefix, past = f"decoder.{layer}", state["past"]
            x, asked = decoder.step(
                self.params, prefix, x, pool, past, memory, lengths, post_norm=c.post_norm
            )
            if layer == shown:
                cross = f"{prefix}.cross"
                weights = decoder.cross_weights(self.params, cross, asked, memory[0], lengths)
        y, _ = self._last_norm("decoder.norm", x)
        logits, _ = dense.layer(self._output(), "output", y)
        return logits, weights, state


def _with_room(state: State, count: int) -> State:
    """The state with a new row of the pool for each hypothesis, the last of its ``past``.

    No row is written twice, for other states may know it.
    """
    B, K, _ = state["past"].shape
    first = int(state["shared.count"][0])
    rows = first + np.arange(count).reshape(B, K, 1)
    state = state | {"past": np.concatenate([state["past"], rows], axis=2)}
    if first + count > len(state["shared.0.keys"]):
        state["shared.count"] = state["shared.count"].copy()
        for name, pool in state.items():
            if name.startswith("shared.") and pool.ndim == 2:
                larger = np.empty((GROWTH * (first + count), pool.shape[1]), pool.dtype)
                larger[:first] = pool[:first]
                state[name] = larger
    state["shared.count"] += count
    return state
