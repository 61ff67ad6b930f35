"""The encoder-decoder: from one sequence to another, with and without attention.

    memory_1 .. memory_S = encoder(source)                  an output for each source token
    h_t = decoder(E[y_{t-1}], h_{t-1})                      h_0 from the encoder's last state
    context_t = attention(h_t, memory)                      what of the source matters now
    a_t = tanh([context_t, h_t] W + b)                      the attentional state
    P(y_t | y_1 .. y_{t-1}, source) = softmax(a_t W_out + b_out)

``attention`` selects what the decoder sees of the source:

- "none": context_t is the same for all t, the encoder's last state.  All that the
  decoder knows of the source has to fit into that one vector (Sutskever et al. 2014; to
  give it to every step is due to Cho et al. 2014).
- "dot", "general": multiplicative attention (Luong et al. 2015).
- "additive": (Bahdanau et al. 2015).

Attention comes after the recurrence, as in Luong et al.  A whole target sequence is then
decoded by one recurrence over all steps and one attention over all steps.  With
``input_feeding`` (Luong et al. 2015, section 3.3) a_{t-1} is also an input of step t:
the decoder knows what it attended to before, but has to be run step by step.

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
from minillm.layers.dropout import dropout
from minillm.layers.fresh import Fresh, normal
from minillm.layers.gradients import merge_gradients
from minillm.models import base, sizes, target
from minillm.models.base import Gradients, State

Batch = tuple[NDArray, NDArray, NDArray, NDArray]


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """The sizes of an encoder-decoder, and its variants: everything but its weights."""

    source_vocabulary: int
    target_vocabulary: int  # V, without BOS and EOS
    embedding: int = 256  # D
    hidden: int = 256  # H, of the decoder and of each direction of the encoder
    layers: int = 1  # L, of each
    cell: str = "lstm"
    bidirectional: bool = True
    attention: str = "additive"
    input_feeding: bool = False
    dropout: float = 0.2
    label_smoothing: float = 0.1
    scheduled_sampling: float = 0.0

    def __post_init__(self) -> None:
        sizes.check_at_least(
            self, 1, "source_vocabulary", "target_vocabulary", "embedding", "hidden", "layers"
        )
        sizes.check_one_of(self, "cell", tuple(recurrent.CELLS))
        sizes.check_one_of(self, "attention", attention.KINDS)
        sizes.check_below_one(self, "dropout", "label_smoothing")
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(
                f"scheduled_sampling must lie in [0, 1], found {self.scheduled_sampling}"
            )

    @property
    def bos(self) -> int:
        """The id that stands before the first token of a target."""
        return self.target_vocabulary

    @property
    def eos(self) -> int:
        """The id that stands after the last token of a target; the same one."""
        return self.target_vocabulary

    @property
    def memory(self) -> int:
        """M, the width of an encoder output."""
        return 2 * self.hidden if self.bidirectional else self.hidden


class EncoderDecoder(base.Model[EncoderDecoderConfig]):
    """A recurrent encoder, a recurrent decoder, and the attention between them.

    ``params``: ``source.E`` and ``target.E``; ``encoder.0.W_x`` and so on (of a
    bidirectional one ``encoder.0.forward.W_x`` and ``encoder.0.reverse.W_x``);
    ``bridge.0.h.W`` and so on, from the encoder's last states to the decoder's first;
    ``decoder.0.W_x`` and so on; ``attention.W`` ("general") or ``attention.W_q``, ``W_k``,
    ``b_k`` and ``v`` ("additive"); ``combine.W`` and ``combine.b``; ``output.W``, ``output.b``.

    A decoder's state has ``decoder.0.h`` and so on, (B, K, H); with input feeding
    ``attentional`` (B, K, H), which is a_{t-1}; and the memory, which see in
    :mod:`minillm.layers.attention`.  In training K is left out: (B, H).
    """

    @staticmethod
    def new_parameters(config: EncoderDecoderConfig) -> dict[str, Fresh]:
        """Fresh parameters, from which the predictions are nearly uniform."""
        c = config
        D, H, M, V = c.embedding, c.hidden, c.memory, c.target_vocabulary + 1
        params = {
            "source.E": Fresh((c.source_vocabulary, D), normal()),
            "target.E": Fresh((V, D), normal()),
        }
        for layer in range(c.layers):
            params |= recurrent.new_layer(
                f"encoder.{layer}", c.cell, M if layer > 0 else D, H, c.bidirectional
            )
            for name in recurrent.CELLS[c.cell].state:
                params |= dense.new_layer(f"bridge.{layer}.{name}", M, H)
            inputs = H if layer > 0 else D + H if c.input_feeding else D
            params |= recurrent.new_layer(f"decoder.{layer}", c.cell, inputs, H)
        params |= attention.new_layer("attention", c.attention, H, M)
        params |= dense.new_layer("combine", M + H, H)
        return params | dense.new_layer("output", H, V)

    # --- training -------------------------------------------------------------

    def loss(
        self, batch: Batch, rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Callable[[], Gradients]]:
        """The mean cross-entropy of the targets, each token given those before it.

        batch is source (B, S), source lengths (B,), target (B, T), target lengths (B,);
        a target ends with EOS, which its length counts: target[b, lengths[b] - 1] is
        ``config.eos``.  With rng it is the loss to train on: with dropout, label smoothing
        and scheduled sampling.  Without, it is in nats per target token.
        ``backward()`` -> gradients keyed as ``params``.
        """
        source, source_lengths, targets, target_lengths = batch
        state, encode_backward = self._encode(source, source_lengths, rng)
        inputs = self._decoder_inputs(targets, state, rng)
        attentional, decode_backward = self._decode(inputs, state, rng)  # (B, T, H)
        smoothing = 0.0 if rng is None else self.config.label_smoothing
        loss, loss_backward = target.target_loss(
            self.params, attentional, targets, target_lengths, smoothing
        )

        def backward(trained=None):
            dattentional, output_gradients = loss_backward()
            dstate, decoder_gradients = decode_backward(dattentional)
            of_encoder = encode_backward(dstate)
            return merge_gradients(output_gradients, decoder_gradients, of_encoder)

        return loss, backward

    def _decoder_inputs(
        self, targets: NDArray, state: State, rng: np.random.Generator | None
    ) -> NDArray:
        """What the decoder reads: BOS, then the target without its last token.

        With scheduled sampling, each token is replaced with that probability by the
        model's own prediction at that place, given the same inputs before it: the model
        learns to go on after its own mistakes.  No gradient flows through the prediction,
        so that the inputs can be made first, step by step, and then be read as any others.

        Source: Bengio, Vinyals, Jaitly and Shazeer (2015), "Scheduled sampling for
        sequence prediction with recurrent neural networks".
        """
        c = self.config
        inputs = target.teacher_forcing(targets, c.bos)
        if rng is None or c.scheduled_sampling == 0:
            return inputs
        sampled = rng.random(inputs.shape) < c.scheduled_sampling  # (B, T)
        state = target.one_hypothesis(state)
        for t in range(targets.shape[1] - 1):
            logits, _, state = self.step(inputs[:, t, None], state)
            predicted = logits[:, 0].argmax(axis=-1)
            inputs[:, t + 1] = np.where(sampled[:, t], predicted, inputs[:, t + 1])
        return inputs

    # --- the encoder ----------------------------------------------------------

    def _encode(
        self, source: NDArray, lengths: NDArray, rng: np.random.Generator | None = None
    ) -> tuple[State, Callable[[State], Gradients]]:
        """source (B, S), lengths (B,) -> the decoder's first state, with the memory.

        ``backward(dstate)`` -> gradients of the encoder, of the bridge and of the keys.
        """
        c, p = self.config, self.params
        zero = recurrent.zero_state(p, "encoder", c.cell, c.layers, len(source))
        (hs, last), encoder_backward = recurrent.stack_over_ids(
            *(p, "encoder", "source.E", source, zero, c.cell, c.layers, lengths, c.dropout, rng)
        )  # (B, S, M)
        top = f"encoder.{c.layers - 1}.h"
        memory, memory_backward = attention.prepare(
            p, "attention", c.attention, hs, last[top], lengths, c.hidden
        )
        state, bridge_backward = self._bridge(last)
        if c.input_feeding:
            state["attentional"] = np.zeros((len(source), c.hidden), self.dtype)

        def backward(dstate):
            dlast, bridge_gradients = bridge_backward(dstate)
            dhs, dtop, memory_gradients = memory_backward(dstate)
            if dtop is not None:
                dlast[top] = dlast[top] + dtop
            _dzero, gradients = encoder_backward(dhs, dlast)
            return gradients | bridge_gradients | memory_gradients

        return state | memory, backward

    def _bridge(self, last: State) -> tuple[State, Callable]:
        """From the last states of the encoder (B, M) to the first of the decoder (B, H).

        An affine map, and for h a tanh, as the decoder's own h has values in [-1, 1].
        ``backward(dstate)`` -> dlast, gradients.
        """
        c = self.config
        state, backwards = {}, {}
        for layer in range(c.layers):
            for name in recurrent.CELLS[c.cell].state:
                entry = f"{layer}.{name}"
                activation = ops.tanh if name == "h" else None
                state[f"decoder.{entry}"], backwards[entry] = dense.layer(
                    self.params, f"bridge.{entry}", last[f"encoder.{entry}"], activation
                )

        def backward(dstate):
            dlast, gradients = {}, {}
            for entry, entry_backward in backwards.items():
                dlast[f"encoder.{entry}"], entry_gradients = entry_backward(
                    dstate[f"decoder.{entry}"]
                )
                gradients |= entry_gradients
            return dlast, gradients

        return state, backward

    # --- the decoder ----------------------------------------------------------

    def _decode(
        self, inputs: NDArray, state: State, rng: np.random.Generator | None
    ) -> tuple[NDArray, Callable]:
        """inputs (B, T) -> attentional states (B, T, H).

        ``backward(dattentional)`` -> dstate, gradients.
        """
        c, p = self.config, self.params
        if c.input_feeding:
            return self._decode_step_by_step(inputs, state, rng)
        (hs, _), decoder_backward = recurrent.stack_over_ids(
            p, "decoder", "target.E", inputs, state, c.cell, c.layers, dropout=c.dropout, rng=rng
        )  # (B, T, H)
        (attentional, _), attentional_backward = self._attentional_state(hs, state, rng)

        def backward(dattentional):
            dhs, dmemory, gradients = attentional_backward(dattentional)
            dfirst, decoder_gradients = decoder_backward(dhs)
            return dmemory | dfirst, gradients | decoder_gradients

        return attentional, backward

    def _decode_step_by_step(
        self, inputs: NDArray, state: State, rng: np.random.Generator | None
    ) -> tuple[NDArray, Callable]:
        """As ``_decode``, with input feeding: x_t = [E[y_{t-1}], a_{t-1}]."""
        c, p = self.config, self.params
        y, embedding_backward = ops.embedding(inputs, p["target.E"])  # (B, T, D)
        y, dropout_backward = dropout(y, c.dropout, rng)
        a = state["attentional"][:, None]  # (B, 1, H)
        steps, backwards = [], []
        for t in range(inputs.shape[1]):
            x = np.concatenate([y[:, t : t + 1], a], axis=-1)  # (B, 1, D + H)
            (h, last), decoder_backward = recurrent.stack(
                p, "decoder", x, state, c.cell, c.layers, dropout=c.dropout, rng=rng
            )
            state = state | last
            (a, _), attentional_backward = self._attentional_state(h, state, rng)
            steps.append(a)
            backwards.append((decoder_backward, attentional_backward))

        def backward(dattentional):
            dy, da = np.empty_like(y), np.zeros_like(a)
            dstate, dmemory, gradients = {}, {}, {}
            for t in reversed(range(inputs.shape[1])):
                decoder_backward, attentional_backward = backwards[t]
                # a_t is an output, and an input of step t + 1
                dh, dmemory_t, gradients_t = attentional_backward(dattentional[:, t : t + 1] + da)
                dx, dstate, decoder_gradients_t = decoder_backward(dh, dstate)
                # x_t = [y_t, a_{t-1}]
                dy[:, t : t + 1], da = dx[..., : c.embedding], dx[..., c.embedding :]
                dmemory = merge_gradients(dmemory, dmemory_t)
                gradients = merge_gradients(gradients, gradients_t, decoder_gradients_t)
            gradients["target.E"] = embedding_backward(dropout_backward(dy))
            return dstate | dmemory, gradients

        return np.concatenate(steps, axis=1), backward

    def _attentional_state(
        self, hs: NDArray, state: State, rng: np.random.Generator | None = None
    ) -> tuple[tuple[NDArray, NDArray | None], Callable]:
        """a = tanh([context, h] W + b), with the context of the query h.

        hs (B, T, H) -> a (B, T, H), attention weights (B, T, S) or None.
        ``backward(da)`` -> dhs, dmemory, gradients.
        """
        c, p, M = self.config, self.params, self.config.memory
        (context, weights), attend_backward = attention.attend(
            p, "attention", c.attention, hs, state
        )  # (B, T, M)
        both = np.concatenate([context, hs], axis=-1)
        a, combine_backward = dense.layer(p, "combine", both, ops.tanh)
        a, dropout_backward = dropout(a, c.dropout, rng)

        def backward(da):
            dboth, gradients = combine_backward(dropout_backward(da))
            dhs, dmemory, attention_gradients = attend_backward(dboth[..., :M])
            return dhs + dboth[..., M:], dmemory, gradients | attention_gradients

        return (a, weights), backward

    # --- decoding: what beam search and sampling ask of a model -----------------

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """Reads sources (B, S): the state before the first step, of one hypothesis each."""
        state, _ = self._encode(source, lengths)
        return target.one_hypothesis(state)

    def step(self, ids: NDArray, state: State) -> tuple[NDArray, NDArray | None, State]:
        """One step of K hypotheses of each source, which share its memory.

        ids (B, K) -> logits (B, K, V + 1), attention weights (B, K, S) or None, new state.
        """
        c, p = self.config, self.params
        x, _ = ops.embedding(ids, p["target.E"])  # (B, K, D)
        if c.input_feeding:
            x = np.concatenate([x, state["attentional"]], axis=-1)
        h, last = recurrent.stack_step(p, "decoder", x, state, c.cell, c.layers)  # (B, K, H)
        (a, weights), _ = self._attentional_state(h, state)
        if c.input_feeding:
            last["attentional"] = a
        logits, _ = dense.layer(p, "output", a)
        return logits, weights, state | last
