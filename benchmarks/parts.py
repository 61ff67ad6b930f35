"""Where the time of a GPT's training step goes: forward, backward, clipping and AdamW.

    python -m benchmarks.parts [--threads 1 2] [--rounds 40] > docs/outputs/parts.md

Each kernel is timed where it is called; the rest of a step is Python's and NumPy's own time.  The
figures are medians over the steps.  Products are also given as a share of the fastest product's
speed: what they lack is packing, and waiting for memory.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import described, machine
from minillm._kernels import select_kernels
from minillm.timing.contest import limits, threads

from .pytorch import our_step, parser
from .training import GPTS, gpt_and_batch

Figures = defaultdict[str, float]  # by the name of a kernel

REST = "Python and NumPy"
PARTS = {
    "products x W + b": ("products",),
    "products dy W^T": ("transposed products",),
    "products x^T dy": ("products of transposes",),
    "attention, forward": ("scaled_attention_forward",),
    "attention, backward": ("scaled_attention_backward",),
    "norms": ("layer_norm_forward", "layer_norm_backward"),
    "gelu": ("gelu_forward", "gelu_backward"),
    "embedding, backward": ("embedding_backward",),
    "softmax and cross-entropy": ("cross_entropy_forward", "cross_entropy_backward"),
    "AdamW": ("adam_update",),
    REST: (REST,),
}


def main() -> None:
    args = parser(__doc__, rounds=40).parse_args()
    print(described(machine()).replace("\n", "; "))
    for size in GPTS:
        print("\n" + table(size, args.threads, args.rounds), flush=True)


def table(size: str, counts: Sequence[int], rounds: int) -> str:
    """Time the steps of a GPT of one of GPTS on each number of threads: a Markdown table."""
    model, (inputs, targets) = gpt_and_batch(size)
    c, (B, T) = model.config, inputs.shape
    rows = [[f"{c.layers} x {c.heads} x {c.width}, {B} x {T}"], ["---"]]
    rows += [[part] for part in (*PARTS, "a step")]
    for count in counts:
        with threads(count):
            peak = limits(count).flops
            steps, operations = timed_steps(our_step(model, (inputs, targets), "cython"), rounds)
        whole = median([sum(step.values()) for step in steps])
        cells = [[f"{count} thread{'s' * (count > 1)}, ms", "share", "of peak"], ["--:"] * 3]
        for kernels in PARTS.values():
            taken = median([sum(step[kernel] for kernel in kernels) for step in steps])
            work = sum(operations[kernel] for kernel in kernels)
            speed = f"{work / taken / peak:.0%}" if work else ""
            cells.append([f"{1e3 * taken:.2f}", f"{taken / whole:.1%}", speed])
        for row, more in zip(rows, [*cells, [f"{1e3 * whole:.2f}", "", ""]], strict=True):
            row += more
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def timed_steps(run: Callable[[], object], rounds: int) -> tuple[list[Figures], Figures]:
    """The seconds of each kernel in each step, and the operations of each in one."""
    run()
    steps = []
    with clocks() as (seconds, operations):
        for _ in range(rounds):
            seconds.clear()
            operations.clear()
            start = time.perf_counter()
            run()
            seconds[REST] = time.perf_counter() - start - sum(seconds.values())
            steps.append(seconds.copy())
    unknown = set(seconds) - {kernel for kernels in PARTS.values() for kernel in kernels}
    if unknown:
        raise RuntimeError(f"benchmarks.parts: kernels that belong to no part: {unknown}")
    return steps, operations


@contextmanager
def clocks() -> Iterator[tuple[Figures, Figures]]:
    """Time all compiled kernels: the seconds and the floating-point operations of each, by name."""
    kernels = select_kernels("cython")
    compiled = {name: value for name, value in vars(kernels).items() if callable(value)}
    seconds: Figures = defaultdict(float)
    operations: Figures = defaultdict(float)

    def timed(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = kernel(*arguments, **named)
            taken = time.perf_counter() - start
            kind = name if name != "matmul" else kind_of_product(*arguments[:2])
            seconds[kind] += taken
            if name == "matmul":
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
