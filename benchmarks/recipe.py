"""From Llama to the records: what each trick of fast training gains alone, and all of them.

    python -m benchmarks.recipe TEXT --out FILE.jsonl [--seconds 60] [--seeds 3]

The tricks were found by people who train a small GPT as fast as they can (Jordan et al. 2024,
"modded-nanogpt", and its successors).  Each is added to `train llama` as it is, for the same time
on one thread; :mod:`benchmarks.changes` says how time is kept equal.  The loss is the lowest of the
validations, in nats per character.

A trick is worth its code if it gains more than twice the standard deviation over the seeds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks import changes
from minillm import ops
from minillm.layers import dense, embedding, hashed_ngrams
from minillm.layers.dense import gated_feed_forward
from minillm.layers.fresh import ParamSpec, at_depth, normal, ones, zeros
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import attend_by, join_heads, self_attention, split_heads
from minillm.layers.norms import norm
from minillm.models.llama import DEVIATION, Llama, LlamaConfig
from minillm.ops.linear import matmul
from minillm.training import Options, train
from minillm.training.muon import LIKE_ADAM, Muon


@dataclass(frozen=True)
class Config(LlamaConfig):
    """The sizes of a Llama, and which tricks are added."""

    relu_squared: bool = False  # relu(x W_1)^2 W_2 in place of SwiGLU, with F = 4 D
    normed_keys: bool = False  # an RMS norm of each query and key
    zero_outputs: bool = False  # W_o and the last matrix of the feed-forward layer begin at zero
    skip: bool = False  # each block reads m_0 x + m_1 x_0, with the embedding x_0
    values: bool = False  # each token has a vector of its own that is added to its values
    ngrams: int | None = None  # the longest n-gram with a vector of its own
    pairs: bool = False  # a table with a row for each pair of characters is added to x_0
    wide: bool = False  # weights are drawn with a deviation of 1 / sqrt(D), in place of 0.02
    cap: float = 0.0  # logits are c tanh(z / c)
    shortest: int = 0  # the window of attention grows from this to C
    average: float = 0.0  # the weights that are validated are a mean over about 1 / (1 - a) steps
    coefficients: str = "jordan"  # of Newton-Schulz
    neurons: bool = False  # NorMuon: each column of an update has the same size, as Adam would


TRICKS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "ReLU squared": {"relu_squared": True},
    "norms of queries and keys": {"normed_keys": True},
    "outputs begin at zero": {"zero_outputs": True},
    "skip from the embedding": {"skip": True},
    "value embeddings": {"values": True},
    "table of pairs": {"pairs": True},
    "hashed n-grams of 2 to 4": {"ngrams": 4},
    "larger weights": {"wide": True},
    "soft cap of 15": {"cap": 15.0},
    "short windows first": {"shortest": 16},
    "average of weights": {"average": 0.99},
    "Polar Express": {"coefficients": "polar"},
    "NorMuon": {"neurons": True},
}
TRICKS["all"] = {name: value for changed in TRICKS.values() for name, value in changed.items()}


def square_of_relu(x):
    """max(x, 0)^2, and its backward: So et al. (2021), "Primer", section 4."""
    r, relu_backward = ops.relu(x)
    return r * r, lambda dy: relu_backward(2 * r * dy)


def capped(x, c):
    """c tanh(x / c): Gemma 2 (2024), section 2.  ``backward(dy)`` -> dx."""
    y, tanh_backward = ops.tanh(x / x.dtype.type(c))
    return y * x.dtype.type(c), tanh_backward


class Recorded(Llama):
    """A Llama with tricks.  ``window`` is what its attention sees; the training changes it."""

    window: int | None = None

    @staticmethod
    def new_parameters(config: Any) -> dict[str, ParamSpec]:
        """Declare Llama's weights, and what the tricks add."""
        c, V, D = config, config.vocabulary, config.width
        params = Llama.new_parameters(c) | hashed_ngrams.new_tables(c.ngrams or 1, D)
        if c.relu_squared:
            params = {n: fresh for n, fresh in params.items() if ".feed_forward." not in n}
        if c.pairs:
            params["pairs.E"] = ParamSpec((V * V, D), zeros, "table", 0)
        for layer in range(c.layers):
            b, own = f"blocks.{layer}", {}
            if c.relu_squared:
                summed = normal(DEVIATION / math.sqrt(2 * c.layers))
                own[f"{b}.feed_forward.W_1"] = ParamSpec((D, 4 * D), normal(DEVIATION), "matrix")
                own[f"{b}.feed_forward.W_2"] = ParamSpec((4 * D, D), summed, "matrix")
            if c.skip:
                own |= {f"{b}.stream": ParamSpec((1,), ones), f"{b}.first": ParamSpec((1,), zeros)}
            if c.values:
                width = c.key_heads * c.head_width
                own[f"{b}.values.E"] = ParamSpec((V, width), zeros, "table")
            params |= at_depth(1 + layer, own)
        if c.wide:
            for name in [n for n in params if ".W_" in n]:
                is_summed = name.endswith(("W_o", "W_down", "W_2"))
                scale = math.sqrt(D * (2 * c.layers if is_summed else 1))
                params[name] = params[name]._replace(draw=normal(1 / scale))
        if c.zero_outputs:
            last = ("attention.W_o", "feed_forward.W_down", "feed_forward.W_2")
            for name in [n for n in params if n.endswith(last)]:
                params[name] = params[name]._replace(draw=zeros)
        return params

    def hidden(self, ids, rng=None):
        """The vector that predicts the token after each id, without dropout: (B, T, D)."""
        c, p = self.config, self.params
        positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        tables = {"embedding.E": ids}
        if c.pairs:  # before the first character: itself
            tables["pairs.E"] = (
                np.concatenate([ids[:, :1], ids[:, :-1]], axis=1) * c.vocabulary + ids
            )
        N = c.ngrams or 1  # all n-grams are seen: a training of two epochs does not overfit
        text = np.concatenate([ids[:, :1]] * (N - 1) + [ids], axis=1)
        for n, rows in hashed_ngrams.rows_of(text, N).items():
            tables[hashed_ngrams.name_of(n)] = rows
        x0, embed_backward = embedding.layer(p, tables)
        x, backwards, to_first = x0, [], []
        for prefix in (f"blocks.{layer}" for layer in range(c.layers)):
            x, block_backward = self.block(prefix, x, x0, ids, positions, to_first)
            backwards.append(block_backward)
        y, norm_backward = norm(p, "norm", x, c.eps)

        def backward(dy):
            to_first.clear()
            dx, of_norm = norm_backward(dy)
            of_blocks = []
            for block_backward in reversed(backwards):
                dx, gradients = block_backward(dx)
                of_blocks.append(gradients)
            dx = sum(to_first, dx)  # x_0 has a use in each block
            return merge_gradients(of_norm, *of_blocks, embed_backward(dx))

        return y, backward

    def block(self, prefix, x, x0, ids, positions, to_first):
        """A block: x (B, T, D) -> (B, T, D).  Its backward appends dx_0 to ``to_first``."""
        c, p = self.config, self.params
        stream, first = p.get(f"{prefix}.stream"), p.get(f"{prefix}.first")
        mixed = x if stream is None else stream * x + first * x0
        a, norm_1_backward = norm(p, f"{prefix}.norm_1", mixed, c.eps)
        a, attention_backward = self_attention(
            p,
            f"{prefix}.attention",
            a,
            c.heads,
            self.attend(prefix, ids),
            c.key_heads,
            partial(self.rotated, positions=positions),
        )
        h = mixed + a
        f, norm_2_backward = norm(p, f"{prefix}.norm_2", h, c.eps)
        forward = (
            partial(dense.feed_forward, activation=square_of_relu)
            if c.relu_squared
            else gated_feed_forward
        )
        f, forward_backward = forward(p, f"{prefix}.feed_forward", f)

        def backward(dy):
            df, of_forward = forward_backward(dy)
            dn, of_norm_2 = norm_2_backward(df)
            dh = dy + dn
            da, *of_values, of_attention = attention_backward(dh)
            dn, of_norm_1 = norm_1_backward(da)
            dmixed, of_scalars = dh + dn, {}
            dx = dmixed
            if stream is not None:
                dx = stream * dmixed
                to_first.append(first * dmixed)
                of_scalars = {
                    f"{prefix}.stream": (dmixed * x).sum(keepdims=True).reshape(1),
                    f"{prefix}.first": (dmixed * x0).sum(keepdims=True).reshape(1),
                }
            own = {f"{prefix}.values.E": of_values[0]} if of_values else {}
            gradients = of_forward, of_norm_2, of_attention, of_norm_1, of_scalars, own
            return dx, merge_gradients(*gradients)

        return h + f, backward

    def rotated(self, x, positions):
        """Rotary positions, after an RMS norm where there is one."""
        c = self.config
        rotate = partial(ops.rotary, positions=positions, base=c.rotary_base)
        if not c.normed_keys:
            return rotate(x)
        y, norm_backward = ops.rms_norm(x, np.ones(x.shape[-1], x.dtype), c.eps)
        y, rotary_backward = rotate(y)
        return y, lambda dy: norm_backward(rotary_backward(dy))[0]

    def attend(self, prefix: str, ids: np.ndarray) -> Callable:
        """Causal attention, to values with a vector of each token added where there is one."""
        c, window = self.config, self.window
        causal = attend_by(ops.Mask(causal=True, window=window))
        if not c.values:
            return causal
        rows, table_backward = ops.embedding(ids, self.params[f"{prefix}.values.E"])

        def attended(q, k, v):
            y, attention_backward = causal(q, k, v + split_heads(rows, c.key_heads))

            def backward(dy):
                dq, dk, dv = attention_backward(dy)
                return dq, dk, dv, table_backward(np.ascontiguousarray(join_heads(dv)))

            return y, backward

        return attended

    def predict(self, y):
        """The logits of the next token, capped where they are."""
        logits, logits_backward = super().predict(y)
        if not self.config.cap:
            return logits, logits_backward
        logits, cap_backward = capped(logits, self.config.cap)
        return logits, lambda dlogits: logits_backward(cap_backward(dlogits))


# Polynomials that together bring a singular value near 1 faster than one that is applied five
# times: Amsel, Persson, Musco and Gower (2025), "The Polar Express", algorithm 1.
POLAR = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


class Tried(Muon):
    """Muon with other polynomials, and with columns of equal size: Li et al. (2025), "NorMuon"."""

    def __init__(self, params, config, **options):
        super().__init__(params, **options)
        self.config, self.squares, self.steps = config, {}, 0

    def step(self, grads, learning_rate):
        """Take a step down the gradients."""
        self.rest.params = self._rest_of(self.params)
        self.rest.step(self._rest_of(grads), learning_rate)
        self.steps += 1
        for name, v in self.v.items():
            p, g = self.params[name], grads[name]
            v += (1 - self.momentum) * (g - v)
            update = self.orthogonal(v + (1 - self.momentum) * (g - v))
            if self.config.neurons:
                mean = (update**2).mean(axis=0)
                squares = self.squares[name] = 0.95 * self.squares.get(name, 0) + 0.05 * mean
                update /= np.sqrt(squares / (1 - 0.95**self.steps)) + 1e-8
                update /= math.sqrt((update**2).sum() / min(p.shape)) + 1e-8  # its size stays
            p *= 1 - learning_rate * self.weight_decay
            p -= LIKE_ADAM * math.sqrt(max(p.shape)) * learning_rate * update

    def orthogonal(self, u):
        """U V^T by the chosen polynomials."""
        rounds = POLAR if self.config.coefficients == "polar" else ((3.4445, -4.7750, 2.0315),) * 5
        X = u if u.shape[0] <= u.shape[1] else u.T
        X = X / (math.sqrt((X**2).sum()) * 1.01 + 1e-20)
        for a, b, c in rounds:
            A = matmul(X, X.T)
            X = matmul(b * A + c * matmul(A, A), X) + a * X
        return X if u.shape[0] <= u.shape[1] else X.T


class Training(changes.Training):
    """A Llama with tricks, and its data, as `train llama` makes them."""

    def new_model(self, vocabulary: int, variant: str) -> Recorded:
        """The model of a trick."""
        self.config = Config(vocabulary, self.settings.context, **TRICKS[variant])
        return Recorded(self.config, self.rng)

    def new_optimiser(self) -> Any:
        """Muon; of the published form where it is not changed."""
        s = self.settings
        if self.config.coefficients == "jordan" and not self.config.neurons:
            return super().new_optimiser()
        return Tried(self.model.params, self.config, beta2=s.beta2, weight_decay=s.weight_decay)

    def loss_after(self, steps: int) -> float:
        """Train, and return the best validation loss in nats per character."""
        c, model, params = self.config, self.model, self.model.params
        task, optimiser = self.task, self.optimiser
        averages = {name: p.copy() for name, p in params.items()}
        taken = 0
        own_loss, own_validation, own_step = (
            task.training_loss,
            task.validation_loss,
            optimiser.step,
        )

        def training_loss(rng):
            if c.shortest:
                share = min(1.0, 2 * taken / steps)  # all of C from the middle on
                model.window = int(c.shortest + share * (c.context - c.shortest))
            return own_loss(rng)

        def step(gradients, learning_rate):
            nonlocal taken
            taken += 1
            own_step(gradients, learning_rate)
            if c.average:
                a = min(c.average, taken / (taken + 10))
                for name, p in params.items():
                    averages[name] *= a
                    averages[name] += (1 - a) * p

        def validation_loss():
            model.window = None
            if c.average:
                model.params = averages
            try:
                return own_validation()
            finally:
                model.params = params

        task.training_loss, task.validation_loss, optimiser.step = (
            training_loss,
            validation_loss,
            step,
        )
        options = Options(steps=steps, learning_rate=self.rate, validations=2)
        summary = train(params, optimiser, task, options, self.rng, quiet=True)
        if summary.interrupted:
            raise RuntimeError("a training was interrupted")  # it is no result
        return summary.best_loss


if __name__ == "__main__":
    changes.compare(__doc__.splitlines()[0], Training, TRICKS, ("Llama", "all"), ("muon",))
