"""The encoder-decoder: from one sequence to another, with and without attention.

    memory_1 .. memory_S = encoder(source)                  an output for each source token
    h_t = decoder(E[y_{t-1}], h_{t-1})                      h_0 from the encoder's last state
    context_t = attention(h_t, memory)                      the relevant part of the source
    a_t = tanh([context_t, h_t] W + b)                      the attentional state
    P(y_t | y_1 .. y_{t-1}, source) = softmax(a_t W_out + b_out)

``attention`` is one of ``layers.attention.KINDS``.  With "none", context_t is the encoder's
last state for all t: everything that the decoder knows about the source has to fit into this
one vector (Sutskever et al. 2014; every step gets it, as in Cho et al. 2014).

Attention comes after the recurrence, as in Luong et al.  A whole target sequence is therefore
decoded by one recurrence over all steps and one attention over all steps.

Legend: B batch, S source steps, T target steps, D embedding, H hidden, M memory width
(H, or 2H of a bidirectional encoder), V target vocabulary, K hypotheses of one source.

Sources: Sutskever, Vinyals and Le (2014), "Sequence to sequence learning with neural
networks"; Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder";
Bahdanau, Cho and Bengio (2015), "Neural machine translation by jointly learning to align
and translate"; Luong, Pham and Manning (2015), "Effective approaches to attention-based
neural machine translation".
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import attention, dense, recurrent
from minillm.layers.fresh import ParamSpec, at_depth, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Rng, State
from minillm.models import base, sizes
from minillm.models.teacher_forcing import TargetConfig, target_loss, teacher_forcing

Batch = tuple[NDArray, NDArray, NDArray, NDArray]


@dataclass(frozen=True)
class EncoderDecoderConfig(TargetConfig):
    """The sizes of an encoder-decoder, and its variants."""

    source_vocabulary: int
    target_vocabulary: int  # V, without BOS and EOS
    embedding: int = 256  # D
    hidden: int = 256  # H, of the decoder and of each direction of the encoder
    layers: int = 1  # L, of each
    cell: str = "lstm"
    bidirectional: bool = True
    attention: str = "additive"
    dropout: float = 0.2
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        sizes.check_at_least(
            self, 1, "source_vocabulary", "target_vocabulary", "embedding", "hidden", "layers"
        )
        sizes.check_one_of(self, "cell", tuple(recurrent.CELLS))
        sizes.check_one_of(self, "attention", tuple(attention.KINDS))
        sizes.check_below_one(self, "dropout", "label_smoothing")

    @property
    def memory(self) -> int:
        """M, the width of an encoder output."""
        return 2 * self.hidden if self.bidirectional else self.hidden


class EncoderDecoder(base.Model[EncoderDecoderConfig]):
    """A recurrent encoder, a recurrent decoder, and the attention between them.

    ``params``: ``source.E`` and ``target.E``; ``encoder.0.W_x`` and so on (bidirectional:
    ``encoder.0.forward.W_x`` and ``encoder.0.reverse.W_x``);
    ``bridge.0.h.W`` and so on, from the encoder's last states to the decoder's first;
    ``decoder.0.W_x`` and so on; ``attention.W`` ("general") or ``attention.W_q``, ``W_k``,
    ``b_k`` and ``v`` ("additive"); ``combine.W`` and ``combine.b``; ``output.W``, ``output.b``.

    A decoder's state has ``decoder.0.h`` and so on, (B, K, H), and the memory of
    :mod:`minillm.layers.attention`.  In training there is no axis K: (B, H).
    """

    @staticmethod
    def new_parameters(config: EncoderDecoderConfig) -> dict[str, ParamSpec]:
        """Declare the parameters; the first predictions are almost uniform."""
        c = config
        D, H, M, V = c.embedding, c.hidden, c.memory, c.target_vocabulary + 1
        params = {
            "source.E": ParamSpec((c.source_vocabulary, D), normal(), "table", 0),
            "target.E": ParamSpec((V, D), normal(), "table"),
        }
        for layer in range(c.layers):
            encoder = recurrent.new_layer(
                f"encoder.{layer}", c.cell, M if layer > 0 else D, H, c.bidirectional
            )
            params |= at_depth(1 + layer, encoder)
            for name in recurrent.CELLS[c.cell].state:
                params |= dense.new_layer(f"bridge.{layer}.{name}", M, H)
            params |= recurrent.new_layer(f"decoder.{layer}", c.cell, H if layer > 0 else D, H)
        params |= attention.KINDS[c.attention].new_layer("attention", H, M)
        params |= dense.new_layer("combine", M + H, H)
        return params | dense.new_layer("output", H, V)

    # --- training -------------------------------------------------------------

    def loss(self, batch: Batch, rng: Rng = None) -> tuple[np.floating, Backward]:
        """The mean cross-entropy of the targets, each token given the tokens before it.

        batch is source (B, S), source lengths (B,), target (B, T), target lengths (B,).
        A target ends with EOS, and its length includes it: target[b, lengths[b] - 1] is
        ``config.eos``.  With rng, it is the training loss, with dropout and label smoothing.
        Without, it is in nats per target token.
        ``backward()`` -> gradients keyed as ``params``.
        """
        source, source_lengths, targets, target_lengths = batch
        state, encode_backward = self.encode(source, source_lengths, rng)
        inputs = teacher_forcing(targets, self.config.bos)
        attentional, decode_backward = self.decode(inputs, state, rng)  # (B, T, H)
        smoothing = 0.0 if rng is None else self.config.label_smoothing
        loss, loss_backward = target_loss(
            self.params, attentional, targets, target_lengths, smoothing
        )

        def backward():
            dattentional, of_output = loss_backward()
            dstate, of_decoder = decode_backward(dattentional)
            of_encoder = encode_backward(dstate)
            return merge_gradients(of_output, of_decoder, of_encoder)

        return loss, backward

    # --- the encoder ----------------------------------------------------------

    def encode(self, source: NDArray, lengths: NDArray, rng: Rng = None) -> tuple[State, Backward]:
        """source (B, S), lengths (B,) -> the decoder's first state, with the memory.

        ``backward(dstate)`` -> gradients of encoder, bridge and keys.
        """
        c, p = self.config, self.params
        zero = recurrent.zero_state(p, "encoder", c.cell, c.layers, len(source))
        (hs, last), encoder_backward = recurrent.stack_over_ids(
            p, "encoder", "source.E", source, zero, c.cell, c.layers, lengths, c.dropout, rng
        )  # (B, S, M)
        top = f"encoder.{c.layers - 1}.h"
        memory, memory_backward = attention.KINDS[c.attention].prepare(
            p, "attention", hs, last[top], lengths, c.hidden
        )
        state, bridge_backward = recurrent.bridge(p, last)

        def backward(dstate):
            dlast, of_bridge = bridge_backward(dstate)
            dhs, dtop, of_memory = memory_backward(dstate)
            if dtop is not None:
                dlast[top] = dlast[top] + dtop
            _dzero, of_encoder = encoder_backward(dhs, dlast)
            return merge_gradients(of_encoder, of_bridge, of_memory)

        return state | memory, backward

    # --- the decoder ----------------------------------------------------------

    def decode(self, inputs: NDArray, state: State, rng: Rng = None) -> tuple[NDArray, Callable]:
        """inputs (B, T) -> attentional states (B, T, H).

        ``backward(dattentional)`` -> dstate, gradients.
        """
        c, p = self.config, self.params
        (hs, _), decoder_backward = recurrent.stack_over_ids(
            p, "decoder", "target.E", inputs, state, c.cell, c.layers, dropout=c.dropout, rng=rng
        )  # (B, T, H)
        (attentional, _), attentional_backward = self.attentional_state(hs, state, rng)

        def backward(dattentional):
            dhs, dmemory, of_attention = attentional_backward(dattentional)
            dfirst, of_decoder = decoder_backward(dhs, whole=True)  # the encoder needs all of it
            return dmemory | dfirst, merge_gradients(of_attention, of_decoder)

        return attentional, backward

    def attentional_state(
        self, hs: NDArray, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, NDArray | None], Callable]:
        """a = tanh([context, h] W + b), with the context of the query h.

        hs (B, T, H) -> a (B, T, H), attention weights (B, T, S) or None.
        ``backward(da)`` -> dhs, dmemory, gradients.
        """
        c, p, M = self.config, self.params, self.config.memory
        (context, weights), attend_backward = attention.KINDS[c.attention].attend(
            p, "attention", hs, state
        )  # (B, T, M)
        both = np.concatenate([context, hs], axis=-1)
        a, combine_backward = dense.layer(p, "combine", both, ops.tanh)
        a, dropout_backward = ops.dropout(a, c.dropout, rng)

        def backward(da):
            dboth, of_combine = combine_backward(dropout_backward(da))
            dhs, dmemory, of_attention = attend_backward(dboth[..., :M])
            return dhs + dboth[..., M:], dmemory, merge_gradients(of_combine, of_attention)

        return (a, weights), backward
