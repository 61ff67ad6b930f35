"""Where the time of a GPT's training step goes: forward, backward, clipping and AdamW.

    python -m benchmarks.parts [--threads 1 2] [--rounds 40]

Each kernel is timed where it is called; the rest of a step is Python's and NumPy's own time.  The
figures are medians over the steps, in milliseconds.  A product is also given as a share of the
speed of the fastest one: what it lacks is packing, and waiting for memory.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minillm._kernels import select_kernels

from . import gpt
from .pytorch import on_threads, our_step, parser
from .race import limits

REST = "Python and NumPy"
PARTS = {
    "linear layers, forward": ("products",),
    "gradients of inputs": ("transposed products",),
    "gradients of weights and biases": ("weight_gradients", "products of transposes"),
    "attention, forward": ("scaled_attention_forward",),
    "attention, backward": ("scaled_attention_backward",),
    "norms and residual sums": (
        *("layer_norm_forward", "add_norm_forward", "layer_norm_backward", "add_norm_backward"),
    ),
    "gelu": ("gelu_forward", "gelu_backward"),
    "embedding": ("embedding_forward", "embedding_backward"),
    "softmax and cross-entropy": ("cross_entropy_forward", "cross_entropy_backward"),
    "norm for clipping, scaling": ("sum_of_squares", "scale"),
    "AdamW": ("adam_update",),
    REST: (REST,),
}


def main() -> None:
    args = parser(__doc__, rounds=40).parse_args()
    for count in on_threads(args.threads):
        peak = limits(count).flops
        for size in gpt.SIZES:
            print("\n" + table(size, args.rounds, peak), flush=True)


def table(size: str, rounds: int, peak: float) -> str:
    """Time the steps of a GPT of one of gpt.SIZES: a Markdown table."""
    model, batch = gpt.model_and_batch(size)
    run = our_step(model, batch, "cython")
    run()
    steps = []
    with clocks() as (seconds, operations):
        for _ in range(rounds):
            seconds.clear(), operations.clear()
            start = time.perf_counter()
            run()
            seconds[REST] = time.perf_counter() - start - seconds.total()
            steps.append(seconds.copy())
    unknown = set(seconds) - {kernel for kernels in PARTS.values() for kernel in kernels}
    assert not unknown, unknown
    whole = float(np.median([step.total() for step in steps]))
    c, (B, T) = model.config, batch[0].shape
    lines = [f"| {c.layers} x {c.heads} x {c.width}, {B} x {T} | ms | share | of peak |"]
    lines += ["|---|--:|--:|--:|"]
    for part, kernels in PARTS.items():
        taken = float(np.median([sum(step[kernel] for kernel in kernels) for step in steps]))
        work = sum(operations[kernel] for kernel in kernels)
        speed = f"{work / taken / peak:.0%}" if work else ""
        lines.append(f"| {part} | {1e3 * taken:.2f} | {taken / whole:.1%} | {speed} |")
    return "\n".join([*lines, f"| a step | {1e3 * whole:.2f} | | |"])


@contextmanager
def clocks() -> Iterator[tuple[Counter[str], Counter[str]]]:
    """Time all compiled kernels: the seconds and the floating-point operations of each, by name."""
    kernels = select_kernels("cython")
    compiled = {name: value for name, value in vars(kernels).items() if callable(value)}
    seconds, operations = Counter[str](), Counter[str]()

    def timed(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = kernel(*arguments)
            taken = time.perf_counter() - start
            kind = name if name != "matmul" else kind_of_product(*arguments[:2])
            seconds[kind] += taken
            if name in ("matmul", "weight_gradients"):
                a, b = arguments[:2]
                operations[kind] += 2.0 * a.size * b.shape[1]
            return result

        return run

    vars(kernels).update({name: timed(name, kernel) for name, kernel in compiled.items()})
    try:
        yield seconds, operations
    finally:
        vars(kernels).update(compiled)


def kind_of_product(a: np.ndarray, b: np.ndarray) -> str:
    if not a.flags.c_contiguous:
        return "products of transposes"
    return "products" if b.flags.c_contiguous else "transposed products"


if __name__ == "__main__":
    main()
