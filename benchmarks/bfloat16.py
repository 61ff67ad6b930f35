"""Training in bfloat16 beside float32, here and in PyTorch: the speed, and what is learned.

    python -m benchmarks.bfloat16 [--threads 1 2] [--only speed|losses] [--steps 300]

`speed` times training steps of two GPTs and of the character model, beside PyTorch's float32 and
its autocast to bfloat16.  All are timed in turn in one process, after a warm-up; the figures are
medians, with the range and the times of the first.

`losses` trains a GPT and an lstm on the built-in text in both precisions, with three seeds, and
prints the difference of the validation losses after equal steps.  It should be within 0.005 nats.
The GPT learns at a rate of 1e-3.  At its default of 3e-3, the result of 300 steps is
chaotic: changing the rate by a millionth moves the loss in float32 by 0.15 nats.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import minillm
from minillm._kernels import slow_bfloat16
from minillm.timing.contest import turns

from .pytorch import on_threads, parser, show, torch
from .training import GPTS, gpt_step, lstm_step

STEPS: dict[str, Callable[[], Any]] = {
    "gpt 4 x 4 x 128, 12 x 64": lambda: gpt_step("small", False),
    "gpt 6 x 6 x 384, 8 x 256": lambda: gpt_step("big", False),
    "lstm 512, 32 x 128": lambda: lstm_step(128),
}
MODELS: dict[str, Mapping[str, Any]] = {
    "gpt": GPTS["small"] | {"learning_rate": 1e-3},
    "lm": {"hidden": 256, "window": 64, "batch": 32},
}
SEEDS = (0, 1, 2)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", choices=("speed", "losses"))
    options.add_argument("--steps", type=int, default=300, help="of each training")
    args = options.parse_args()
    if why := slow_bfloat16():
        sys.exit(f"benchmarks: bfloat16 gains nothing here: {why}")
    if args.only != "losses":
        for count in on_threads(args.threads):
            for name, make in STEPS.items():
                print(name)
                show(turns(contestants(make), 0.0, args.rounds, count))
    if args.only != "speed":
        losses(args.steps)


def contestants(make: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
    """The step in both precisions, each with a model of its own."""
    first, second = make().contestants, make().contestants
    runs = {
        "float32": first["Cython"],
        "bfloat16": in_context(second["Cython"], lambda: minillm.use_precision("bfloat16")),
    }
    if torch:
        runs["PyTorch"] = first["PyTorch"]
        autocast = in_context(
            second["PyTorch"], lambda: torch.autocast("cpu", dtype=torch.bfloat16)
        )
        runs["PyTorch autocast"] = autocast
    return runs


def in_context(run: Callable[[], Any], context: Callable[[], Any]) -> Callable[[], Any]:
    def inside() -> Any:
        with context():
            return run()

    return inside


def losses(steps: int) -> None:
    """Print the validation losses of trainings in both precisions."""
    for kind, sizes in MODELS.items():
        print(f"\n{kind}: validation loss after {steps} steps, nats per character")
        for seed in SEEDS:
            float32, bfloat16 = (
                trained(kind, seed=seed, steps=steps, precision=precision, **sizes)
                for precision in ("float32", "bfloat16")
            )
            print(
                f"  seed {seed}  float32 {float32:.4f}  bfloat16 {bfloat16:.4f}  "
                f"{bfloat16 - float32:+.4f}",
                flush=True,
            )


def trained(kind: str, **settings: Any) -> float:
    """The validation loss at the end."""
    run = minillm.train(kind, quiet=True, validations=1, **settings)
    return run.folder.read_metrics()[-1]["validation_loss"]


if __name__ == "__main__":
    main()
