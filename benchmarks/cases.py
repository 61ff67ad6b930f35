"""The cases of the benchmark: the same work for every contestant, and results to compare.

PyTorch runs eagerly, at its best settings: float32, batch first as our arrays
are, gradients set to None rather than zero, its fused AdamW.  Where it is not
installed, the cases have two contestants.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from minillm import ops
from minillm._kernels import ORIGINALS, select_kernels, use_kernels
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.training.optimisers import AdamW, clip_global_norm

try:
    import torch
except ImportError:
    torch = None

# batch, time, input, hidden
SMALL = [(1, 100, 64, 128), (16, 50, 64, 128), (32, 64, 128, 256)]
LARGE = [(20, 35, 650, 650), (64, 100, 256, 512)]
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


@dataclass
class Case:
    """One row of the table: contestants by name, each a function that does the work once."""

    kind: str
    sizes: str
    flops: float
    contestants: dict[str, Callable[[], Any]]
    tolerance: float = 1e-4  # of the largest number
    compared: Callable[[Any], Any] = lambda results: results  # the part that agrees


def cases(full: bool) -> Iterator[Case]:
    """Yield all cases, or only the quick ones."""
    yield from matmuls(full)
    for cell in GATES:
        for sizes in SMALL + (LARGE if full else LARGE[:1]):
            yield recurrence(cell, *sizes)
    yield from operations(full)
    yield training_step(full)
    yield translation_step()
    yield generation()


def twins(function: Callable[[Any], Any]) -> dict[str, Callable[[], Any]]:
    """Return a function of the kernels for each twin."""
    both = {"NumPy": SimpleNamespace(**ORIGINALS), "Cython": select_kernels("cython")}
    return {name: lambda kernels=kernels: function(kernels) for name, kernels in both.items()}


def matmuls(full: bool) -> Iterator[Case]:
    """Yield products of the recurrences' shapes, and squares."""
    rng = np.random.default_rng(0)
    shapes = [
        ("h W", 1, 512, 2048, ""),
        ("h W", 16, 128, 512, ""),
        ("h W", 64, 512, 2048, ""),
        ("da W^T", 64, 2048, 512, "b"),
        ("x^T da", 256, 2048, 1024, "a"),
        ("square", 1024, 1024, 1024, ""),
    ]
    if full:
        shapes += [("h W", 8, 128, 480, ""), ("x W", 6400, 256, 2048, "")]
        shapes += [("x^T da", 512, 6400, 2048, "a"), ("square", 2048, 2048, 2048, "")]
    for name, M, K, N, transposed in shapes:
        a = rng.standard_normal((K, M) if transposed == "a" else (M, K), np.float32)
        b = rng.standard_normal((N, K) if transposed == "b" else (K, N), np.float32)
        a, b = a.T if transposed == "a" else a, b.T if transposed == "b" else b
        contestants = twins(lambda kernels, a=a, b=b: kernels.matmul(a, b))
        if torch:
            ta, tb = torch.from_numpy(a), torch.from_numpy(b)
            contestants["PyTorch"] = lambda ta=ta, tb=tb: (ta @ tb).numpy()
        yield Case("matmul " + name, f"{M} x {K} x {N}", 2.0 * M * K * N, contestants)


def recurrence(cell: str, B: int, T: int, I: int, H: int) -> Case:
    """Time forward and backward of a whole sequence, with all gradients."""
    rng = np.random.default_rng(0)
    G = GATES[cell]

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return np.float32(scale) * rng.standard_normal(shape, np.float32)

    x, dhs = normal(B, T, I), normal(B, T, H)
    states = [normal(B, H) for _ in range(2 if cell == "lstm" else 1)]
    W_x, W_h = normal(I, G * H, scale=H**-0.5), normal(H, G * H, scale=H**-0.5)
    biases = [normal(G * H) for _ in range(2 if cell == "gru" else 1)]
    lengths = np.full(B, T)
    zeros = [np.zeros((B, H), np.float32) for _ in states]

    def ours(kernels: Any) -> list[np.ndarray]:
        forward, backward = (getattr(kernels, f"{cell}_{way}") for way in ("forward", "backward"))
        hs, *rest = forward(x, *states, W_x, W_h, *biases, lengths)
        kept = rest[len(states) :]
        gradients = backward(dhs, *zeros, x, *states, W_x, W_h, lengths, hs, *kept)
        dx, dW_x, dW_h = gradients[0], *gradients[1 + len(states) : 3 + len(states)]
        return [hs, dx, dW_x, dW_h]

    contestants: dict[str, Callable[[], Any]] = twins(ours)
    if torch:
        module = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
        layer = module(I, H, batch_first=True)
        tx, tdhs = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dhs)
        tstates = tuple(torch.from_numpy(state[None]) for state in states)
        with torch.no_grad():
            layer.weight_ih_l0.copy_(torch.from_numpy(W_x.T))
            layer.weight_hh_l0.copy_(torch.from_numpy(W_h.T))
            layer.bias_ih_l0.copy_(torch.from_numpy(biases[0]))
            second = biases[1] if cell == "gru" else np.zeros_like(biases[0])
            layer.bias_hh_l0.copy_(torch.from_numpy(second))

        def theirs() -> list[np.ndarray]:
            layer.zero_grad(set_to_none=True)
            tx.grad = None
            hs, _ = layer(tx, tstates if cell == "lstm" else tstates[0])
            hs.backward(tdhs)
            weights = layer.weight_ih_l0, layer.weight_hh_l0
            return [hs.detach().numpy(), tx.grad.numpy(), *(W.grad.numpy().T for W in weights)]

        contestants["PyTorch"] = theirs
    flops = 6.0 * B * T * (I + H) * G * H
    return Case(cell, f"{B}, {T}, {I}, {H}", flops, contestants)


def operations(full: bool) -> Iterator[Case]:
    """Yield the other ops, forward and backward, at sizes of the models' training steps.

    Dropout has no kernel, and is NumPy in either column.
    """
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return np.float32(scale) * rng.standard_normal(shape, np.float32)

    def case(
        kind: str,
        sizes: str,
        flops: float,
        op: Callable[..., Any],
        arguments: list[np.ndarray],
        peer: Callable[..., Any],
        **agreement: Any,
    ) -> Case:
        """Compare op and peer: functions of the arguments; of several outputs, the first counts."""

        def ours(name: str) -> Callable[[], list[np.ndarray]]:
            def run() -> list[np.ndarray]:
                with use_kernels(name):
                    y, backward = op(*arguments)
                    gradients = backward(upstream)
                y = y[0] if isinstance(y, tuple) else y
                return [y, *(gradients if isinstance(gradients, tuple) else (gradients,))]

            return run

        y, _ = op(*arguments)
        y = y[0] if isinstance(y, tuple) else y
        upstream = normal(*y.shape) if y.shape else 1.0
        contestants: dict[str, Callable[[], Any]] = {
            "NumPy": ours("numpy"),
            "Cython": ours("cython"),
        }
        if torch:
            twins = [torch.from_numpy(array).requires_grad_() for array in arguments]
            dy = torch.from_numpy(upstream) if y.shape else torch.tensor(1.0)

            def theirs() -> list[np.ndarray]:
                for twin in twins:
                    twin.grad = None
                output = peer(*twins)
                output.backward(dy)
                return [output.detach().numpy(), *(twin.grad.numpy() for twin in twins)]

            contestants["PyTorch"] = theirs
        return Case(kind, sizes, flops, contestants, **agreement)

    F = torch.nn.functional if torch else None
    N, D, V = 960, 512, 6480
    yield case(
        "linear",
        f"{N}, {D} to {V}",
        6.0 * N * D * V,
        ops.linear,
        [normal(N, D), normal(D, V, scale=D**-0.5), normal(V)],
        lambda x, W, b: torch.addmm(b, x, W),
    )
    ids = rng.integers(0, V, (32, 128))
    yield case(
        "embedding",
        f"32 x 128 of {V}, {D}",
        1.0 * ids.size * D,
        lambda E: ops.embedding(ids, E),
        [normal(V, D)],
        lambda E: F.embedding(torch.from_numpy(ids), E),
    )
    for rows, width in ((N, V), (4096, 65)):
        targets = rng.integers(0, width, rows)
        yield case(
            "cross-entropy",
            f"{rows}, {width}",
            8.0 * rows * width,
            lambda logits, targets=targets: ops.cross_entropy(logits, targets, label_smoothing=0.1),
            [normal(rows, width)],
            lambda logits, targets=targets: F.cross_entropy(
                logits, torch.from_numpy(targets), label_smoothing=0.1
            ),
        )
    B, T, S, H, M = 64, 15, 13, 512, 1024
    memory = [normal(B, T, H), normal(B, S, M), normal(B, S, M)]
    yield case(
        "attention, general",
        f"{B}, {T} x {S}, {H}, {M}",
        6.0 * B * T * (H * M + 2 * S * M),
        ops.multiplicative_attention,
        [*memory, normal(H, M, scale=H**-0.5 / 10)],
        lambda q, k, v, W: torch.softmax((q @ W) @ k.transpose(1, 2), dim=-1) @ v,
    )
    yield case(
        "attention, additive",
        f"{B}, {T} x {S}, {H}, {M}",
        6.0 * B * T * (H * H + S * (2 * H + M)),
        lambda q, k, v, W, w: ops.additive_attention(q, k, v, W, None, w),
        [memory[0], normal(B, S, H), memory[2], normal(H, H, scale=H**-0.5), normal(H, scale=0.1)],
        lambda q, k, v, W, w: (
            torch.softmax(torch.tanh((q @ W)[:, :, None] + k[:, None]) @ w, dim=-1) @ v
        ),
    )
    heads = [normal(8, 8, 128, 64) for _ in range(3)]
    yield case(
        "attention, 8 heads, causal",
        "8, 128, 64",
        6.0 * 8 * 8 * 128 * 128 * 64,
        lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, causal=True),
        heads,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    )
    yield case(
        "layer_norm",
        "4096, 512",
        14.0 * 4096 * 512,
        ops.layer_norm,
        [normal(4096, 512), normal(512), normal(512)],
        lambda x, gain, bias: F.layer_norm(x, (512,), gain, bias),
    )
    yield case(
        "gelu",
        "4096, 512",
        20.0 * 4096 * 512,
        ops.gelu,
        [normal(4096, 512)],
        lambda x: F.gelu(x, approximate="tanh"),
    )
    x = normal(4096, 512)

    def lots(results: list[np.ndarray]) -> list[np.floating]:
        """Return rate, scale and use of the masks: each contestant draws its own."""
        y, dx = results
        kept = y != 0
        return [kept.mean(), (y[kept] / x[kept]).mean(), ((dx != 0) == kept).mean(), abs(dx).mean()]

    yield case(
        "dropout",
        "4096, 512",
        4.0 * x.size,
        lambda x: ops.dropout(x, 0.2, rng),
        [x],
        lambda x: F.dropout(x, 0.2),
        tolerance=5e-3,
        compared=lots,
    )


def steps_of(
    Model: Any, config: Any, start: dict[str, np.ndarray], batch: Any, rate: float
) -> dict[str, Callable[[], Any]]:
    """Return a whole training step for each twin, which begins with the weights ``start``."""

    def step_of(name: str) -> Callable[[], float]:
        model = Model(config, params={key: array.copy() for key, array in start.items()})
        optimiser = AdamW(model.params)

        def step() -> float:
            with use_kernels(name):
                loss, backward = model.loss(batch)
                gradients = backward()
                clip_global_norm(gradients, 1.0)
                optimiser.step(gradients, rate)
            return float(loss)

        return step

    return {"NumPy": step_of("numpy"), "Cython": step_of("cython")}


def translation_step() -> Case:
    """Time a step of the encoder-decoder on words of CMUdict's lengths, without dropout."""
    rng = np.random.default_rng(0)
    B, S, T = 128, 8, 7
    config = EncoderDecoderConfig(27, 39, attention="general", label_smoothing=0.0)
    lengths = rng.integers(3, S + 1, B), rng.integers(3, T + 1, B)
    source, target = rng.integers(0, 27, (B, S)), rng.integers(0, 39, (B, T))
    lengths[0][0], lengths[1][0] = S, T
    batch = source, lengths[0], target, lengths[1]
    start = EncoderDecoder(config, rng).params

    contestants = steps_of(EncoderDecoder, config, start, batch, 1e-4)
    if torch:
        from .encoder_decoder import pytorch_model

        model = pytorch_model(config, start).eval()  # no dropout
        adam = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

        def theirs() -> float:
            adam.zero_grad()
            loss = model.loss(batch, 0.0)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            return loss.item()

        contestants["PyTorch"] = theirs
    H, D = config.hidden, config.embedding
    steps = lengths[0].sum() * 2 + lengths[1].sum()
    flops = 6.0 * (steps * (D + H) * 4 * H + lengths[1].sum() * (5 * H * H + H * 40))
    return Case("training step", f"encoder-decoder {H}, batch {B}", flops, contestants, 2e-3)


def training_step(full: bool) -> Case:
    """Time a whole step of the character model: forward, backward, clipping, AdamW."""
    B, T, V, D, H = 32, 128 if full else 64, 65, 128, 512
    rng = np.random.default_rng(0)
    ids = rng.integers(0, V, (B, T + 1))
    inputs, targets = ids[:, :-1].copy(), ids[:, 1:].copy()
    config = LanguageModelConfig(V, D, H)
    start = LanguageModel(config, rng).params
    contestants = steps_of(LanguageModel, config, start, (inputs, targets), 1e-3)
    if torch:
        embedding, layer, output = (
            torch.nn.Embedding(V, D),
            torch.nn.LSTM(D, H, batch_first=True),
            torch.nn.Linear(H, V),
        )
        weights = [*embedding.parameters(), *layer.parameters(), *output.parameters()]
        ours_in_order = [
            start["embedding.E"],
            start["layers.0.W_x"].T,
            start["layers.0.W_h"].T,
            start["layers.0.b"],
            np.zeros_like(start["layers.0.b"]),
            start["output.W"].T,
            start["output.b"],
        ]
        with torch.no_grad():
            for weight, array in zip(weights, ours_in_order, strict=True):
                weight.copy_(torch.from_numpy(array))
        adam = torch.optim.AdamW(weights, lr=1e-3, fused=True)
        tin, tout = torch.from_numpy(inputs), torch.from_numpy(targets).reshape(-1)

        def theirs() -> float:
            adam.zero_grad()
            hs, _ = layer(embedding(tin))
            loss = torch.nn.functional.cross_entropy(output(hs).reshape(-1, V), tout)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            adam.step()
            return loss.item()

        contestants["PyTorch"] = theirs
    # As PyTorch counts: we leave out most of D * 4 * H, and so may pass the peak.
    flops = 6.0 * B * T * ((D + H) * 4 * H + H * V)
    return Case("training step", f"lstm {H}, batch {B}, window {T}", flops, contestants, 2e-3)


def generation() -> Case:
    """Time a hundred characters, one at a time, each the likeliest next."""
    V, D, H, length = 65, 128, 512, 100
    model = LanguageModel(LanguageModelConfig(V, D, H), np.random.default_rng(0))

    def ours(name: str) -> Callable[[], Any]:
        def generate() -> list[int]:
            ids, state = [1], model.zero_state(1)
            with use_kernels(name):
                writer = model.one_hot()  # as `minillm generate` does; its time counts
                for _ in range(length):
                    logits, state = writer.read(np.array([ids[-1:]]), state)
                    ids.append(int(logits[0].argmax()))
            return ids

        return generate

    contestants = {"NumPy": ours("numpy"), "Cython": ours("cython")}
    if torch:
        p = {name: torch.from_numpy(value) for name, value in model.params.items()}
        layer = torch.nn.LSTM(D, H, batch_first=True)
        with torch.no_grad():
            layer.weight_ih_l0.copy_(p["layers.0.W_x"].T)
            layer.weight_hh_l0.copy_(p["layers.0.W_h"].T)
            layer.bias_ih_l0.copy_(p["layers.0.b"])
            layer.bias_hh_l0.zero_()

        def theirs() -> list[int]:
            ids, state = [1], None
            with torch.inference_mode():
                for _ in range(length):
                    x = p["embedding.E"][ids[-1]].reshape(1, 1, D)
                    hs, state = layer(x, state)
                    ids.append(int((hs[0, 0] @ p["output.W"] + p["output.b"]).argmax()))
            return ids

        contestants["PyTorch"] = theirs
    flops = 2.0 * length * ((D + H) * 4 * H + H * V)
    return Case("generation", f"lstm {H}, {length} characters", flops, contestants, 0.0)
