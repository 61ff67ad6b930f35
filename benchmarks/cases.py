"""The cases of the benchmark: the same work for every contestant, and results to compare.

PyTorch runs eagerly, at its best settings: float32, batch first as our arrays are, gradients set to
None rather than zero, its fused AdamW.  Numba has an LSTM and causal attention.  What is not
installed is no contestant.
"""

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from minillm import ops
from minillm._kernels import ORIGINALS, select_kernels, use_kernels
from minillm.timing.contest import Case

from .pytorch import recurrent, torch
from .training import training_steps

try:
    from . import numba_kernels
except ImportError:
    numba_kernels = None  # type: ignore[assignment]

# batch, time, input, hidden
FEW = [(1, 100, 64, 128), (32, 64, 128, 256)]
MANY = [*FEW, (16, 50, 64, 128), (20, 35, 650, 650), (64, 100, 256, 512)]
Op = Callable[..., Any]
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
# Operations that take as long: each of 11 instructions of an exponential is a multiply-add, and a
# division takes as long as 10 of them.
EXP, DIVISION = 22.0, 20.0


def cases(full: bool, compiled: bool = False) -> Iterator[Case]:
    """Yield all cases, or only the quick ones; ``compiled``: steps with torch.compile, too."""
    yield from matmuls(full)
    for cell in GATES:
        for sizes in MANY if full else FEW:
            yield recurrence(cell, *sizes)
    yield from operations(full)
    yield from training_steps(full, compiled)


def twins(function: Callable[[Any], Any]) -> dict[str, Callable[[], Any]]:
    """A function of the kernels for each twin."""
    both = {"NumPy": SimpleNamespace(**ORIGINALS), "Cython": select_kernels("cython")}
    return {name: lambda kernels=kernels: function(kernels) for name, kernels in both.items()}


def draw(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Draw floats with this deviation."""
    return np.float32(scale) * rng.standard_normal(shape, np.float32)


def matmuls(full: bool) -> Iterator[Case]:
    """Yield products of the recurrences' shapes, and squares."""
    rng = np.random.default_rng(0)
    shapes = [
        ("h W", 1, 512, 2048, ""),
        ("h W", 16, 128, 512, ""),
        ("da W^T", 64, 2048, 512, "b"),
        ("square", 1024, 1024, 1024, ""),
    ]
    if full:
        shapes += [("h W", 64, 512, 2048, ""), ("x^T da", 256, 2048, 1024, "a")]
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
        # The limit of one row is how fast a cache can be read, which is not measured.
        flops, moved = (2.0 * M * K * N, 4.0 * (M * K + K * N + M * N)) if M > 1 else (0.0, 0.0)
        yield Case("matmul " + name, f"{M} x {K} x {N}", flops, contestants, moved)


def recurrence(cell: str, B: int, T: int, I: int, H: int) -> Case:
    """Time forward and backward of a whole sequence, with all gradients."""
    normal, G = partial(draw, np.random.default_rng(0)), GATES[cell]
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
        layer = recurrent(cell, W_x, W_h, *biases).requires_grad_()
        tx, tdhs = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dhs)
        tstates = tuple(torch.from_numpy(state[None]) for state in states)

        def theirs() -> list[np.ndarray]:
            layer.zero_grad(set_to_none=True)
            tx.grad = None
            hs, _ = layer(tx, tstates if cell == "lstm" else tstates[0])
            hs.backward(tdhs)
            weights = layer.weight_ih_l0, layer.weight_hh_l0
            return [hs.detach().numpy(), tx.grad.numpy(), *(W.grad.numpy().T for W in weights)]

        contestants["PyTorch"] = theirs
    if numba_kernels and cell == "lstm":
        numbas = x, *states, W_x, W_h, *biases, dhs
        contestants["Numba"] = lambda: list(numba_kernels.lstm(*numbas))
    flops = 6.0 * B * T * (I + H) * G * H
    # x is read twice, its gradient written; hs and dhs; matrices as x.
    moved = 4.0 * (B * T * (3 * I + 2 * H) + 3 * (I + H) * G * H)
    return Case(cell, f"{B}, {T}, {I}, {H}", flops, contestants, moved)


def operations(full: bool) -> Iterator[Case]:
    """Yield the other ops, forward and backward, at sizes of the models' training steps."""
    rng = np.random.default_rng(0)
    normal = partial(draw, rng)

    def case(kind: str, sizes: str, flops: float, op: Op, arguments: list[np.ndarray], peer: Op,
             moved: float = 0.0, numbas: Op | None = None) -> Case:  # fmt: skip
        """Compare op and peer: functions of the arguments; of several outputs, the first counts.

        numbas, a function of arguments and upstream gradient, returns the output and all gradients.
        """

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
        contestants: dict[str, Any] = {"NumPy": ours("numpy"), "Cython": ours("cython")}
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
        if numbas:
            contestants["Numba"] = lambda: list(numbas(*arguments, upstream))
        # Both ways read the arguments, one dy; a cache reads each line before it is written.
        moved = moved or 4.0 * sum(array.nbytes for array in arguments) + 3.0 * y.nbytes
        return Case(kind, sizes, flops, contestants, moved)

    F = torch.nn.functional if torch else None
    N, D, V = 960, 512, 6480
    yield case("linear", f"{N}, {D} to {V}", 6.0 * N * D * V,
        ops.linear, [normal(N, D), normal(D, V, scale=D**-0.5), normal(V)],
        lambda x, W, b: torch.addmm(b, x, W))  # fmt: skip
    ids = rng.integers(0, V, (32, 128))
    of_rows = 4.0 * (2 * V * D + 4 * ids.size * D)  # of E only some rows are read
    yield case("embedding", f"32 x 128 of {V}, {D}", 1.0 * ids.size * D,
        lambda E: ops.embedding(ids, E), [normal(V, D)],
        lambda E: F.embedding(torch.from_numpy(ids), E), of_rows)  # fmt: skip
    for rows, width in [(N, V), (4096, 65)][: 1 + full]:
        targets = rng.integers(0, width, rows)
        yield case("cross-entropy", f"{rows}, {width}", (EXP + 4.0) * rows * width,
            lambda logits, targets=targets: ops.cross_entropy(logits, targets, label_smoothing=0.1),
            [normal(rows, width)], lambda logits, targets=targets: F.cross_entropy(
                logits, torch.from_numpy(targets), label_smoothing=0.1),
            6 * 4.0 * rows * width)  # fmt: skip  # the forward writes p, and the backward reads it
    B, T, S, H, M = 64, 15, 13, 512, 1024
    memory = [normal(B, T, H), normal(B, S, M), normal(B, S, M)]
    matrix, keys = normal(H, M, scale=H**-0.5 / 10), normal(B, S, H)
    yield case("attention, general", f"{B}, {T} x {S}, {H}, {M}",
        6.0 * B * T * (H * M + 2 * S * M), ops.multiplicative_attention, [*memory, matrix],
        lambda q, k, v, W: torch.softmax((q @ W) @ k.transpose(1, 2), dim=-1) @ v)  # fmt: skip
    additive = [memory[0], keys, memory[2], normal(H, H, scale=H**-0.5), normal(H, scale=0.1)]
    yield case("attention, additive", f"{B}, {T} x {S}, {H}, {M}",
        B * T * (6.0 * (H * H + S * (2 * H + M)) + 2 * S * H * (EXP + DIVISION)),
        lambda q, k, v, W, w: ops.additive_attention(q, k, v, W, None, w), additive,
        lambda q, k, v, W, w: (
            torch.softmax(torch.tanh((q @ W)[:, :, None] + k[:, None]) @ w, dim=-1) @ v
        ))  # fmt: skip
    heads = [normal(8, 8, 128, 64) for _ in range(3)]
    yield case("attention, causal", "8 x 8, 128, 64", 8 * 8 * 128 * 128 * (6.0 * 64 + EXP),
        lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, causal=True), heads,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        numbas=numba_kernels and numba_kernels.causal_attention)  # fmt: skip
    yield case("layer_norm", "4096, 512", 14.0 * 4096 * 512,
        ops.layer_norm, [normal(4096, 512), normal(512), normal(512)],
        lambda x, gain, bias: F.layer_norm(x, (512,), gain, bias))  # fmt: skip
    yield case("gelu", "4096, 512", (2 * (EXP + DIVISION) + 24.0) * 4096 * 512,
        ops.gelu, [normal(4096, 512)], lambda x: F.gelu(x, approximate="tanh"))  # fmt: skip
