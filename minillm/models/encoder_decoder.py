"""The encoder-decoder: from one sequence to another, with and without attention.

    memory_1 .. memory_S = encoder(source)                  what was read, place by place
    h_t = decoder(E[y_{t-1}], h_{t-1})                      from a state that the encoder left
    context_t = attention(h_t, memory)                      what of it matters now
    combined_t = tanh([context_t, h_t] W + b)
    P(y_t | y_1 .. y_{t-1}, source) = softmax(combined_t W_out + b_out)

``attention`` is the one switch between the two ages of this model:

- "none": context_t is the same for all t, the encoder's last state.  All that the
  decoder ever knows of the source must pass through that one vector (Sutskever et
  al. 2014; that it is seen at every step is Cho et al. 2014).
- "dot", "general": multiplicative attention (Luong et al. 2015).
- "additive": (Bahdanau et al. 2015).

The attention comes after the recurrence, as in Luong et al., so that the decoder of
a whole teacher-forced sequence is one recurrence, then one attention over all steps.
With ``input_feeding`` (Luong et al. 2015, section 3.3) combined_{t-1} is also an input
of step t: the decoder then remembers where it has looked, and pays for it by going
step by step.

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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.models import recurrent_layer

ATTENTIONS = ("none", "dot", "general", "additive")

Gradients = dict[str, NDArray]
Batch = tuple[NDArray, NDArray, NDArray, NDArray]


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """The sizes and switches of an encoder-decoder: everything but its weights."""

    source_vocabulary: int
    target_vocabulary: int  # V, without the border
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
        for name in ("source_vocabulary", "target_vocabulary", "embedding", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name, known in (("cell", recurrent_layer.CELLS), ("attention", ATTENTIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, found {getattr(self, name)!r}")
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), found {getattr(self, name)}")
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(
                f"scheduled_sampling must lie in [0, 1], found {self.scheduled_sampling}"
            )

    @property
    def border(self) -> int:
        """The id that stands before a target's first token and after its last one."""
        return self.target_vocabulary

    @property
    def memory(self) -> int:
        """M, the width of what the encoder remembers of a place."""
        return 2 * self.hidden if self.bidirectional else self.hidden


class Encoded(NamedTuple):
    """What the decoder may look at."""

    keys: NDArray  # (B, S, H or M): what a place is found by
    memory: NDArray  # (B, S, M): what is found there
    last: NDArray  # (B, M): the encoder's last state, the context where there is no attention
    lengths: NDArray[np.integer]  # (B,)


class DecoderState(NamedTuple):
    """Where the decoder stands in K hypotheses of each of B sources, when it runs step by step."""

    encoded: Encoded
    layers: list[recurrent_layer.State]  # each array (B * K, H)
    combined: NDArray  # (B * K, H), of the step before


class EncoderDecoder:
    """A recurrent encoder, a recurrent decoder, and how the one looks at the other.

    ``params``: ``source.E`` and ``target.E``; ``encoder.0.W_x`` and so on (of a
    bidirectional one ``encoder.0.forward.W_x`` and ``encoder.0.reverse.W_x``);
    ``bridge.0.h.W`` and so on, from the encoder's last states to the decoder's first;
    ``decoder.0.W_x`` and so on; ``attention.W`` ("general") or ``attention.W_q``, ``W_k``,
    ``b_k`` and ``v`` ("additive"); ``combine.W`` and ``combine.b``; ``output.W``, ``output.b``.
    """

    def __init__(
        self,
        config: EncoderDecoderConfig,
        rng: np.random.Generator | None = None,
        *,
        params: dict[str, NDArray] | None = None,
        dtype: type = np.float32,
    ) -> None:
        """Fresh parameters drawn from rng, or those given."""
        self.config = config
        if params is None:
            if rng is None:
                raise TypeError("EncoderDecoder needs rng for fresh parameters, or params")
            params = self._new_parameters(rng, dtype)
        self.params = params

    def _new_parameters(self, rng: np.random.Generator, dtype: type) -> dict[str, NDArray]:
        c = self.config
        D, H, M = c.embedding, c.hidden, c.memory
        params: dict[str, NDArray] = {}

        def matrix(name: str, *shape: int) -> None:
            bound = shape[0] ** -0.5
            params[name] = rng.uniform(-bound, bound, shape).astype(dtype)

        params["source.E"] = rng.standard_normal((c.source_vocabulary, D)).astype(dtype)
        params["target.E"] = rng.standard_normal((c.target_vocabulary + 1, D)).astype(dtype)
        for layer in range(c.layers):
            inputs = D if layer == 0 else M
            for direction in (".forward", ".reverse") if c.bidirectional else ("",):
                params |= recurrent_layer.new_parameters(
                    c.cell, f"encoder.{layer}{direction}", inputs, H, rng, dtype
                )
            for part in self._state_parts():
                matrix(f"bridge.{layer}.{part}.W", M, H)
                params[f"bridge.{layer}.{part}.b"] = np.zeros(H, dtype)
            inputs = H if layer > 0 else D + H if c.input_feeding else D
            params |= recurrent_layer.new_parameters(
                c.cell, f"decoder.{layer}", inputs, H, rng, dtype
            )
        if c.attention == "general":
            matrix("attention.W", H, M)
        if c.attention == "additive":
            matrix("attention.W_q", H, H)
            matrix("attention.W_k", M, H)
            params["attention.b_k"] = np.zeros(H, dtype)
            matrix("attention.v", H)
        matrix("combine.W", M + H, H)
        params["combine.b"] = np.zeros(H, dtype)
        matrix("output.W", H, c.target_vocabulary + 1)
        params["output.b"] = np.zeros(c.target_vocabulary + 1, dtype)
        return params

    def _state_parts(self) -> tuple[str, ...]:
        return ("h", "c") if self.config.cell == "lstm" else ("h",)

    # --- training -------------------------------------------------------------

    def loss(
        self, batch: Batch, rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Callable[[], Gradients]]:
        """The mean cross-entropy of the targets, each given those before it.

        batch is source (B, S), source lengths (B,), target (B, T), target lengths
        (B,); a target counts its border: target[b, lengths[b] - 1] is ``config.border``.
        With rng it is the loss to train on: with dropout, label smoothing and
        scheduled sampling.  Without, it is in nats per target token, plain.
        ``backward()`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        source, source_lengths, target, target_lengths = batch
        real = np.arange(target.shape[1]) < target_lengths[:, None]  # (B, T)
        smoothing = 0.0 if rng is None else c.label_smoothing

        (encoded, states), encode_backward = self._encode(source, source_lengths, rng)
        inputs = self._decoder_inputs(target, encoded, states, rng)
        (combined, _), decode_backward = self._decode(inputs, encoded, states, rng)
        rows = combined[real]  # (tokens, H): the output layer is wide, and padding need not pass
        logits, output_backward = ops.linear(rows, p["output.W"], p["output.b"])
        loss, loss_backward = ops.cross_entropy(logits, target[real], label_smoothing=smoothing)

        def backward():
            drows, dW, db = output_backward(loss_backward())
            gradients = {"output.W": dW, "output.b": db}
            dcombined = np.zeros_like(combined)
            dcombined[real] = drows
            dencoded, dstates, decoder_gradients = decode_backward(dcombined)
            return gradients | decoder_gradients | encode_backward(dencoded, dstates)

        return loss, backward

    def attention_weights(self, batch: Batch) -> NDArray:
        """The weights (B, T, S) with which each target token of a batch looks at the source."""
        source, source_lengths, target, _ = batch
        (encoded, states), _ = self._encode(source, source_lengths, None)
        inputs = self._decoder_inputs(target, encoded, states, None)
        (_, weights), _ = self._decode(inputs, encoded, states, None)
        if weights is None:
            raise ValueError("this model has no attention: its decoder sees one context vector")
        return weights

    def _decoder_inputs(
        self,
        target: NDArray,
        encoded: Encoded,
        states: list[recurrent_layer.State],
        rng: np.random.Generator | None,
    ) -> NDArray:
        """What the decoder reads: the border, then the target moved by one (teacher forcing).

        With scheduled sampling, each token is replaced with that probability by what
        the model itself says there, having read these very inputs so far: it learns
        to go on from its own mistakes.  No gradient flows through the choice, so that
        the inputs can be made first, step by step, and then be read as any others.

        Source: Bengio, Vinyals, Jaitly and Shazeer (2015), "Scheduled sampling for
        sequence prediction with recurrent neural networks".
        """
        c = self.config
        inputs = np.empty_like(target)
        inputs[:, 0] = c.border
        inputs[:, 1:] = target[:, :-1]
        if rng is None or c.scheduled_sampling == 0:
            return inputs
        own = rng.random(inputs.shape) < c.scheduled_sampling  # (B, T)
        state = self._first_state(encoded, states)
        for t in range(target.shape[1] - 1):
            logits, _, state = self.step(inputs[:, t, None], state)
            inputs[:, t + 1] = np.where(own[:, t], logits[:, 0].argmax(axis=-1), inputs[:, t + 1])
        return inputs

    def _encode(
        self, source: NDArray, lengths: NDArray, rng: np.random.Generator | None
    ) -> tuple[tuple[Encoded, list[recurrent_layer.State]], Callable]:
        """The source read, and the decoder's first states.

        ``backward(dencoded, dstates)`` -> gradients of the encoder's parameters, of the
        bridge's and of the keys'; dencoded holds "keys", "memory" and "last", or some of them.
        """
        c, p = self.config, self.params
        B, H = len(source), c.hidden
        zero = recurrent_layer.zero_state(c.cell, B, H, p["source.E"].dtype.type)
        dropout_backwards, layer_backwards, bridge_backwards = [], [], []
        states = []

        x, embedding_backward = ops.embedding(source, p["source.E"])  # (B, S, D)
        for layer in range(c.layers):
            x, dropout_backward = self._dropout(x, rng)
            if c.bidirectional:
                (x, lasts), layer_backward = recurrent_layer.run_bidirectional(
                    c.cell, p, f"encoder.{layer}", x, (zero, zero), lengths
                )
                last = tuple(np.concatenate(pair, axis=1) for pair in zip(*lasts, strict=True))
            else:
                (x, last), layer_backward = recurrent_layer.run(
                    c.cell, p, f"encoder.{layer}", x, zero, lengths
                )
            state, bridge_backward = self._bridge(layer, last)
            states.append(state)
            dropout_backwards.append(dropout_backward)
            layer_backwards.append(layer_backward)
            bridge_backwards.append(bridge_backward)
        memory, context = x, last[0]  # (B, S, M), (B, M)
        keys, keys_backward = self._keys(memory)

        def backward(dencoded, dstates):
            dx = dencoded.get("memory")
            gradients = {}
            if "keys" in dencoded:
                dmemory, gradients = keys_backward(dencoded["keys"])
                dx = dx + dmemory
            if dx is None:
                dx = np.zeros_like(memory)
            for layer in reversed(range(c.layers)):
                dlast, bridge_gradients = bridge_backwards[layer](dstates[layer])
                if layer == c.layers - 1 and "last" in dencoded:
                    dlast = (dlast[0] + dencoded["last"], *dlast[1:])
                if c.bidirectional:
                    dlast = tuple(tuple(d[:, part] for d in dlast) for part in _halves(H))
                dx, _dzero, layer_gradients = layer_backwards[layer](dx, dlast)
                dx = dropout_backwards[layer](dx)
                gradients |= layer_gradients | bridge_gradients
            gradients["source.E"] = embedding_backward(dx)
            return gradients

        return (Encoded(keys, memory, context, lengths), states), backward

    def _bridge(
        self, layer: int, last: recurrent_layer.State
    ) -> tuple[recurrent_layer.State, Callable]:
        """From an encoder layer's last state (B, M) to the decoder layer's first (B, H).

        An affine map, and tanh for h, which the decoder's own h has been through too.
        """
        p = self.params
        name = f"bridge.{layer}"
        a, h_backward = ops.linear(last[0], p[f"{name}.h.W"], p[f"{name}.h.b"])
        h, tanh_backward = ops.tanh(a)
        state: recurrent_layer.State = (h,)
        if self.config.cell == "lstm":
            c, c_backward = ops.linear(last[1], p[f"{name}.c.W"], p[f"{name}.c.b"])
            state = (h, c)

        def backward(dstate):
            dh_last, dW, db = h_backward(tanh_backward(dstate[0]))
            dlast, gradients = (dh_last,), {f"{name}.h.W": dW, f"{name}.h.b": db}
            if self.config.cell == "lstm":
                dc_last, dW, db = c_backward(dstate[1])
                dlast = (dh_last, dc_last)
                gradients |= {f"{name}.c.W": dW, f"{name}.c.b": db}
            return dlast, gradients

        return state, backward

    def _keys(self, memory: NDArray) -> tuple[NDArray, Callable]:
        """What places are found by.  ``backward(dkeys)`` -> dmemory, gradients."""
        c, p = self.config, self.params
        if c.attention == "additive":  # projected here, once, however many steps will look
            keys, linear_backward = ops.linear(memory, p["attention.W_k"], p["attention.b_k"])

            def backward(dkeys):
                dmemory, dW_k, db_k = linear_backward(dkeys)
                return dmemory, {"attention.W_k": dW_k, "attention.b_k": db_k}

            return keys, backward
        if c.attention == "dot" and c.bidirectional:
            # A product needs one width: the sum of both directions has the decoder's.
            forward, reverse = (memory[..., part] for part in _halves(c.hidden))
            return forward + reverse, lambda dkeys: (np.concatenate([dkeys, dkeys], axis=-1), {})
        return memory, lambda dkeys: (dkeys, {})

    def _decode(
        self,
        inputs: NDArray,
        encoded: Encoded,
        states: list[recurrent_layer.State],
        rng: np.random.Generator | None,
    ) -> tuple[tuple[NDArray, NDArray | None], Callable]:
        """inputs (B, T) -> combined (B, T, H), attention weights (B, T, S) or None.

        ``backward(dcombined)`` -> dencoded, dstates, gradients.
        """
        c, p = self.config, self.params
        if c.input_feeding:
            return self._decode_step_by_step(inputs, encoded, states, rng)
        dropout_backwards, layer_backwards = [], []
        x, embedding_backward = ops.embedding(inputs, p["target.E"])  # (B, T, D)
        for layer in range(c.layers):
            x, dropout_backward = self._dropout(x, rng)
            (x, _), layer_backward = recurrent_layer.run(
                c.cell, p, f"decoder.{layer}", x, states[layer]
            )  # (B, T, H)
            dropout_backwards.append(dropout_backward)
            layer_backwards.append(layer_backward)
        outputs, look_backward = self._look(x, encoded, rng)

        def backward(dcombined):
            dx, dencoded, gradients = look_backward(dcombined)
            dstates = [None] * c.layers
            for layer in reversed(range(c.layers)):
                dx, dstates[layer], layer_gradients = layer_backwards[layer](dx)
                dx = dropout_backwards[layer](dx)
                gradients |= layer_gradients
            gradients["target.E"] = embedding_backward(dx)
            return dencoded, dstates, gradients

        return outputs, backward

    def _decode_step_by_step(
        self,
        inputs: NDArray,
        encoded: Encoded,
        states: list[recurrent_layer.State],
        rng: np.random.Generator | None,
    ) -> tuple[tuple[NDArray, NDArray | None], Callable]:
        """As ``_decode``, with input feeding: x_t = [E[y_{t-1}], combined_{t-1}]."""
        c, p = self.config, self.params
        (B, T), D = inputs.shape, c.embedding
        state = list(states)
        combined = np.zeros((B, 1, c.hidden), p["target.E"].dtype)
        steps, step_backwards = [], []

        y, embedding_backward = ops.embedding(inputs, p["target.E"])  # (B, T, D)
        y, dropout_backward = self._dropout(y, rng)
        for t in range(T):
            x = np.concatenate([y[:, t : t + 1], combined], axis=-1)  # (B, 1, D + H)
            layer_backwards = []
            for layer in range(c.layers):
                x, between_backward = self._dropout(x, rng if layer > 0 else None)
                (x, state[layer]), layer_backward = recurrent_layer.run(
                    c.cell, p, f"decoder.{layer}", x, state[layer]
                )
                layer_backwards.append((between_backward, layer_backward))
            (combined, weights), look_backward = self._look(x, encoded, rng)
            steps.append((combined, weights))
            step_backwards.append((layer_backwards, look_backward))

        def backward(dcombined):
            dy = np.empty_like(y)
            dstates = [tuple(np.zeros_like(part) for part in state) for state in states]
            dfed = np.zeros_like(combined)  # by combined_t, from step t + 1
            dencoded, gradients = {}, {}
            for t in reversed(range(T)):
                layer_backwards, look_backward = step_backwards[t]
                dx, dencoded_t, look_gradients = look_backward(dcombined[:, t : t + 1] + dfed)
                _accumulate(dencoded, dencoded_t)
                _accumulate(gradients, look_gradients)
                for layer in reversed(range(c.layers)):
                    between_backward, layer_backward = layer_backwards[layer]
                    dx, dstates[layer], layer_gradients = layer_backward(dx, dstates[layer])
                    dx = between_backward(dx)
                    _accumulate(gradients, layer_gradients)
                # x = [y_t, combined_{t-1}]
                dy[:, t : t + 1], dfed = dx[..., :D], dx[..., D:]
            gradients["target.E"] = embedding_backward(dropout_backward(dy))
            return dencoded, dstates, gradients

        all_combined = np.concatenate([step[0] for step in steps], axis=1)  # (B, T, H)
        if c.attention == "none":
            return (all_combined, None), backward
        return (all_combined, np.concatenate([step[1] for step in steps], axis=1)), backward

    def _look(
        self, hs: NDArray, encoded: Encoded, rng: np.random.Generator | None
    ) -> tuple[tuple[NDArray, NDArray | None], Callable]:
        """combined = tanh([context, h] W + b), with the context that h asks for.

        hs (B, T, H) -> combined (B, T, H), attention weights (B, T, S) or None.
        ``backward(dcombined)`` -> dhs, dencoded, gradients.
        """
        p, M = self.params, self.config.memory
        (context, weights), attend_backward = self._attend(hs, encoded)  # (B, T, M)
        both = np.concatenate([context, hs], axis=-1)
        a, linear_backward = ops.linear(both, p["combine.W"], p["combine.b"])
        tanh, tanh_backward = ops.tanh(a)
        combined, dropout_backward = self._dropout(tanh, rng)

        def backward(dcombined):
            dboth, dW, db = linear_backward(tanh_backward(dropout_backward(dcombined)))
            dhs, dencoded, gradients = attend_backward(dboth[..., :M])
            dhs = dhs + dboth[..., M:]
            return dhs, dencoded, gradients | {"combine.W": dW, "combine.b": db}

        return (combined, weights), backward

    def _attend(
        self, hs: NDArray, encoded: Encoded
    ) -> tuple[tuple[NDArray, NDArray | None], Callable]:
        """The switch.  ``backward(dcontext)`` -> dhs, dencoded, gradients."""
        c, p = self.config, self.params
        keys, memory, lengths = encoded.keys, encoded.memory, encoded.lengths
        if c.attention == "none":
            last = encoded.last[:, None]  # (B, 1, M)
            context = np.broadcast_to(last, (*hs.shape[:2], c.memory))

            def last_backward(dcontext):
                return np.zeros_like(hs), {"last": dcontext.sum(axis=1)}, {}

            return (context, None), last_backward
        if c.attention == "additive":
            outputs, op_backward = ops.additive_attention(
                hs, keys, memory, p["attention.W_q"], None, p["attention.v"], lengths
            )
            names = ["attention.W_q", "attention.v"]
        else:
            W = p.get("attention.W")
            outputs, op_backward = ops.multiplicative_attention(hs, keys, memory, W, lengths)
            names = [] if W is None else ["attention.W"]

        def backward(dcontext):
            dhs, dkeys, dmemory, *dweights = op_backward(dcontext)
            dencoded = {"keys": dkeys, "memory": dmemory}
            return dhs, dencoded, dict(zip(names, dweights, strict=True))

        return outputs, backward

    def _dropout(
        self, x: NDArray, rng: np.random.Generator | None
    ) -> tuple[NDArray, Callable[[NDArray], NDArray]]:
        if rng is None or self.config.dropout == 0:
            return x, lambda dy: dy
        return ops.dropout(x, self.config.dropout, rng)

    # --- decoding -------------------------------------------------------------

    def start(self, source: NDArray, lengths: NDArray) -> DecoderState:
        """Reads sources (B, S): the state before the first step, of one hypothesis each."""
        (encoded, states), _ = self._encode(source, lengths, None)
        return self._first_state(encoded, states)

    def _first_state(self, encoded: Encoded, states: list[recurrent_layer.State]) -> DecoderState:
        shape = (len(encoded.memory), self.config.hidden)
        return DecoderState(encoded, list(states), np.zeros(shape, encoded.memory.dtype))

    def step(
        self, ids: NDArray, state: DecoderState
    ) -> tuple[NDArray, NDArray | None, DecoderState]:
        """One step of K hypotheses of each source, which share its memory.

        ids (B, K) -> logits (B, K, V + 1), attention weights (B, K, S) or None, new state.
        """
        c, p = self.config, self.params
        B, K = ids.shape
        x, _ = ops.embedding(ids.ravel(), p["target.E"])  # (B * K, D)
        if c.input_feeding:
            x = np.concatenate([x, state.combined], axis=1)
        layers = []
        for layer in range(c.layers):
            layers.append(
                recurrent_layer.step(c.cell, p, f"decoder.{layer}", x, state.layers[layer])
            )
            x = layers[-1][0]  # (B * K, H)
        (combined, weights), _ = self._look(x.reshape(B, K, c.hidden), state.encoded, None)
        logits, _ = ops.linear(combined, p["output.W"], p["output.b"])
        return logits, weights, DecoderState(state.encoded, layers, combined.reshape(B * K, -1))

    def select(self, state: DecoderState, rows: NDArray, parents: NDArray) -> DecoderState:
        """Of a state, the sources ``rows`` (b,), and of each the hypotheses ``parents`` (b, k)."""
        K = len(state.combined) // len(state.encoded.memory)
        flat = (rows[:, None] * K + parents).ravel()
        encoded = state.encoded
        if len(rows) < len(encoded.memory):  # else they are all there, and in order
            encoded = Encoded(*(part[rows] for part in encoded))
        layers = [tuple(part[flat] for part in layer) for layer in state.layers]
        return DecoderState(encoded, layers, state.combined[flat])


def _halves(H: int) -> tuple[slice, slice]:
    """The two directions of a bidirectional encoder, in its concatenated outputs."""
    return slice(0, H), slice(H, 2 * H)


def _accumulate(total: Gradients, more: Gradients) -> None:
    """One weight, many steps: the gradients add up."""
    for name, gradient in more.items():
        total[name] = total[name] + gradient if name in total else gradient
