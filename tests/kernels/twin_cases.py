"""The cases of the twins: what is drawn for each kernel, once for all that is tested of it.

A case is a generator.  It draws its arguments from `draw`, yields the name of a kernel and the
arguments, and is sent what the original returns, from which it may make a backward's arguments.
`sizes` are strategies for its last arguments; `large` are sizes of several blocks, and of several
threads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minillm.ops.gradient_cases import CASES as GRADIENT_CASES
from minillm.ops.recurrence import CELLS
from minillm.quantised import QuantisedLora

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
OF_SCANS = {np.float32: 2e-4, np.float64: 1e-11}
WIDTHS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 64, 65, 130]))
ROWS = st.integers(0, 200)
NAMES = ("rnn", "lstm", "gru")


class Draw:
    """Random arrays of one precision."""

    def __init__(self, dtype, seed=0):
        self.dtype, self.rng = dtype, np.random.default_rng(seed)

    def __call__(self, *shape, scale=1.0):
        return (scale * self.rng.standard_normal(shape)).astype(self.dtype)


WRONG = ValueError, TypeError, AttributeError


def wrong_versions(a):
    """Yield what no kernel takes in place of an array, or of the arrays that a weight is made of:
    another dtype, an axis too many, shorter, longer and empty ones, strides, a list."""
    if isinstance(a, QuantisedLora):
        yield from (QuantisedLora(a.W, A, a.B) for A in (None, *wrong_versions(a.A)))
        yield from (QuantisedLora(a.W, a.A, B) for B in (None, *wrong_versions(a.B)))
        yield QuantisedLora(a.W, a.A[:, :0].copy(), a.B[:0])
    if not isinstance(a, np.ndarray) or a.size == 0:
        return
    yield a.astype({np.dtype("f4"): "f8", np.dtype("f8"): "f4"}.get(a.dtype, "i4"))
    yield a[None]
    yield a.tolist()
    for axis, size in enumerate(a.shape):
        yield np.delete(a, 0, axis)
        yield np.delete(a, range(size), axis)
        yield np.repeat(a, 2, axis)
    if a.shape[-1] > 1:
        yield np.repeat(a, 2, -1)[..., ::2]


@dataclass(frozen=True)
class Case:
    draw: Callable[..., Iterator]
    sizes: st.SearchStrategy | None
    large: list[tuple]
    tolerance: dict[type, float]
    counts: tuple[int, ...]

    def calls(self, original, dtype, sizes, seed=0) -> Iterator[tuple[str, list, Any]]:
        """Yield the kernels' names, their arguments, and what the original returns."""
        steps = self.draw(Draw(dtype, seed), *sizes)
        name, *arguments = next(steps)
        while True:
            outputs = getattr(original, name)(*arguments)
            yield name, arguments, outputs
            try:
                name, *arguments = steps.send(outputs)
            except StopIteration:
                return


CASES: dict[str, Case] = {}


def case(name, *sizes, large=(), tolerance=TOLERANCE, counts=(3,)):
    """Enter a case under a name."""

    def enter(draw):
        large_ones = [size if isinstance(size, tuple) else (size,) for size in large]
        drawn = st.tuples(*sizes) if sizes else None
        CASES[name] = Case(draw, drawn, large_ones, tolerance, counts)
        return draw

    return enter


# --- products and rows ----------------------------------------------------------------------

# Whether a and b are transposed, and whether there is a bias.
LAYOUTS = ((False, False, False), (True, False, True), (False, True, True), (False, True, False))
OF_PRODUCTS = [  # with each of them every other layout
    (6, 520, 2900),  # B comes from memory, and a row of C has several parts
    *((2, 1500, 70), (300, 700, 300), (1100, 520, 40), (7, 3, 900), (9, 1100, 1000)),
    *((1, 5, 3), (4, 700, 40), (3, 0, 5), (3, 400, 500), (16, 300, 130), (40, 2000, 30)),
    *((1100, 70, 40), (65, 900, 500), (2000, 40, 30)),
]


@case(
    "matmul",
    *(WIDTHS, WIDTHS, WIDTHS, st.sampled_from(LAYOUTS)),
    large=[
        (*sizes, layout) for n, sizes in enumerate(OF_PRODUCTS) for layout in LAYOUTS[n % 2 :: 2]
    ],
    counts=(3, 4),  # 4 cut some along both axes
)
def product(draw, M, K, N, layout):
    of_a, of_b, has_bias = layout
    a, b = (draw(K, M).T if of_a else draw(M, K)), (draw(N, K).T if of_b else draw(K, N))
    yield "matmul", a, b, *([draw(N)] if has_bias else [])


@case("matmul of any strides", large=[()])
def strided_product(draw):
    a, b = draw(40, 60)[::2, ::-3], draw(20, 50)[::-1, 5:45:2]
    for some in ((a, b), (a[:, :0], b[:0]), (a[:0], b)):
        yield "matmul", *some


@case(
    "embedding",
    *(st.integers(0, 40), st.integers(1, 9), WIDTHS),
    large=[(900, 1000, 70), (5000, 2, 33), (10, 60_000, 2), (0, 7, 20_000)],
    counts=(2, 5),
)
def embedding(draw, N, V, D):
    yield "embedding_backward", draw(N, D), draw.rng.integers(0, V, N), V


@case(
    "cross_entropy",
    *(st.integers(1, 9), WIDTHS, st.sampled_from([0.0, 0.1, 0.7])),
    large=[(200, 1001, 0.1)],
)
def cross_entropy(draw, N, V, smoothing):
    targets = draw.rng.integers(0, V, N)
    outputs = yield "cross_entropy_forward", draw(N, V, scale=5), targets, smoothing
    yield "cross_entropy_backward", outputs[1], targets, draw(N), smoothing


@case("layer_norm", ROWS, WIDTHS, large=[(1000, 70), (129, 512), (1, 60_000), (60_000, 1)])
def layer_norm(draw, N, D):
    x, gain, bias = 3 * draw(N, D) + 1, 3 * draw(D) + 1, draw(D)
    eps = 0.1  # where D is small a variance may be too, and 1 / sqrt would enlarge what rounds
    _, *kept = yield "layer_norm_forward", x, gain, bias, eps
    yield "layer_norm_backward", draw(N, D), x, gain, *kept


@case("rms_norm", ROWS, WIDTHS, large=[(1000, 70)])
def rms_norm(draw, N, D):
    x, gain = 3 * draw(N, D) + 1, 3 * draw(D) + 1
    _, inverse_rms = yield "rms_norm_forward", x, gain, 0.1
    yield "rms_norm_backward", draw(N, D), x, gain, inverse_rms


def activation(draw, size, name):
    x = draw(size, scale=3)
    yield f"{name}_forward", x
    yield f"{name}_backward", draw(size), x


for form in ("gelu", "exact_gelu", "silu", "softplus"):
    sizes = [0, 1, 8192, 100_001]
    case(form, st.integers(0, 70), large=sizes)(partial(activation, name=form))


@case("swiglu", ROWS, WIDTHS, large=[(900, 70)])
def swiglu(draw, N, F):
    x = draw(N, 2 * F, scale=3)
    yield "swiglu_forward", x
    yield "swiglu_backward", draw(N, F), x


@case("rotary", st.integers(0, 3), st.integers(0, 4), WIDTHS, WIDTHS, large=[(3, 4, 75, 70)])
def rotary(draw, B, N, T, half):
    """Heads that lie beside each other, as a layer has them, or one after the other."""
    joined = draw(B, T, N, 2 * half + 3)[..., 1 : 2 * half + 1].swapaxes(1, 2)
    for x in (joined, np.ascontiguousarray(joined)):
        yield "rotary_rotation", x, draw(B, T, half), draw(B, T, half)


# Scaled attention has a page of its own: test_scaled_attention.py.
@case(
    "additive_attention",
    *(st.integers(1, 4), WIDTHS, WIDTHS, WIDTHS, st.integers(1, 20)),
    large=[(5, 70, 90, 20, 30)],
)
def additive_attention(draw, B, T, S, D, E):
    arguments = draw(B, T, D), draw(B, S, D), draw(B, S, E), draw(D), draw.rng.integers(0, S + 1, B)
    _, weights = yield "additive_attention_forward", *arguments
    yield "additive_attention_backward", draw(B, T, E), draw(B, T, S), *arguments, weights


# --- recurrences and scans ------------------------------------------------------------------


def sequence(draw, cell, B, T, I, H, ids=False, full=False):
    """Arguments of a forward, over floats or ids."""
    gates, of_state, weights = CELLS[cell].gates * H, CELLS[cell].state, CELLS[cell].weights
    x = draw.rng.integers(0, I, (B, T)) if ids else draw(B, T, I)
    lengths = np.full(B, T) if full else draw.rng.integers(0, T + 1, size=B)
    matrices = draw(I, gates, scale=I**-0.5), draw(H, gates, scale=H**-0.5)
    biases = [draw(gates) for _ in weights[2:]]
    return [x, *(draw(B, H) for _ in of_state), *matrices, *biases, lengths.astype(np.int64)]


def after_sequence(draw, cell, arguments, outputs):
    """Arguments of the backward that follows a forward."""
    entries = len(CELLS[cell].state)
    x, lengths, states = arguments[0], arguments[-1], arguments[1 : 1 + entries]
    hs, kept = outputs[0], outputs[1 + entries :]
    upstream = [draw(*array.shape) for array in (hs, *states)]
    matrices = arguments[1 + entries : 3 + entries]
    return [*upstream, x, *states, *matrices, lengths, hs, *kept]


def recurrence(draw, B, T, I, H, full, cell, ids):
    arguments = sequence(draw, cell, B, T, I, H, ids, full)
    outputs = yield f"{cell}_forward", *arguments
    yield f"{cell}_backward", *after_sequence(draw, cell, arguments, outputs)


def single_step(draw, B, I, H, ids, cell):
    x, *others, _ = sequence(draw, cell, B, 1, I, H, ids)
    yield f"{cell}_step", x[:, 0].copy(), *others


for cell in NAMES:
    for ids in (False, True):
        case(
            f"{cell} over {'ids' if ids else 'floats'}",
            *(st.integers(1, 20), st.integers(1, 5), WIDTHS, WIDTHS, st.booleans()),
            large=[(11, 24, 40, 70, False)],
        )(partial(recurrence, cell=cell, ids=ids))
    sizes = st.integers(1, 20), WIDTHS, WIDTHS, st.booleans()
    case(f"step of {cell}", *sizes)(partial(single_step, cell=cell))


@case(
    "stacked_step",
    *(st.sampled_from(NAMES), *(st.integers(1, most) for most in (3, 9, 20, 40))),
    *(st.integers(0, 40), st.booleans()),
    large=[("lstm", 2, 1, 50, 300, 4001, True), ("lstm", 2, 9, 50, 300, 4001, True)],
)
def stacked_step(draw, *sizes):
    yield "stacked_step", *stack(draw, *sizes)


def stack(draw, name, layers, B, I, H, V, ids):
    """The arguments of stacked_step; V = 0: there is no output layer."""
    cell, weights = CELLS[name], []
    gates = cell.gates * H
    x = draw.rng.integers(0, I, B) if ids else draw(B, I)
    states = [draw(B, H) for _ in range(layers * len(cell.state))]
    for layer in range(layers):
        weights += [draw(H if layer else I, gates), draw(H, gates) / H]
        weights += [draw(gates) for _ in cell.weights[2:]]
    return cell, x, states, weights, [draw(H, V), draw(V)] if V else []


ARGUMENTS = {  # of the twins, in the order of the op's
    "linear_recurrence": ("a", "b", "h0", "lengths"),
    "selective_scan": ("x", "delta", "A", "b", "c", "skip", "h0"),
    "gated_delta_rule": ("q", "k", "v", "alpha", "beta", "S0"),
}
OF_SCAN = {
    "linear_recurrence": [{"B": 3, "T": 70, "D": 300}, {"B": 1, "T": 9, "D": 4100}],
    "selective_scan": [{"B": 2, "T": 70, "D": 70, "N": 5}, {"B": 1, "T": 32, "D": 64, "N": 16}],
    "gated_delta_rule": [
        {"B": 2, "N": 2, "T": 70, "K": 9, "V": 35},
        {"B": 1, "N": 3, "T": 64, "K": 32, "V": 32},
    ],
}


def arguments_of_scan(name, sizes, dtype=np.float64):
    """By name, drawn as for the op's gradient."""
    arguments = [
        a.astype(dtype if a.dtype.kind == "f" else np.int64)
        for a in GRADIENT_CASES[name](np.random.default_rng(0), **sizes)[1]
    ]
    return dict(zip(ARGUMENTS[name], arguments, strict=True))


def scan(draw, sizes, name):
    given = arguments_of_scan(name, sizes, draw.dtype)
    outputs = yield f"{name}_forward", *given.values()
    upstream = [draw(*y.shape) for y in outputs]
    if name == "linear_recurrence":
        yield f"{name}_backward", *upstream, given["a"], given["h0"], outputs[0], given["lengths"]
    else:
        yield f"{name}_backward", *upstream, *given.values()


for name, several in OF_SCAN.items():
    large = [(sizes,) for sizes in several]
    case(name, large=large, tolerance=OF_SCANS)(partial(scan, name=name))


@case(
    "mamba_layer_step",
    large=[(1, 128, 256, 16, 4, 8), (3, 7, 13, 5, 2, 1), (2, 900, 600, 1, 3, 2)],
    tolerance=OF_SCANS,
)
def mamba_layer_step(draw, *sizes):
    yield "mamba_layer_step", *of_mamba(draw, *sizes)


def of_mamba(draw, B, D, E, N, K, R):
    """The arguments of mamba_layer_step."""
    shapes = [(B, D), (B, K - 1, E), (B, E, N), (D,), (D, 2 * E), (K, E), (E,), (E, R + 2 * N)]
    shapes += [(R, E), (E,), (E, N), (E,), (E, D)]
    x, *others = [draw(*shape) for shape in shapes]
    return [x, 1e-5, *others]
