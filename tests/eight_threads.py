"""Eight Python threads on one model: their losses and gradients have the bits of one thread.

Each of ten steps takes the gradients of eight batches at once, from the same weights, and then
updates the weights by their mean.  On a free-threaded Python, the GIL must stay off.  It needs
nothing but minillm and what that depends on, because `make dist-check` runs it where only the wheel
is installed.
"""

import platform
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import minillm
from minillm.models.gpt import GPT, GPTConfig
from minillm.training.optimisers import AdamW

STEPS, THREADS, VOCABULARY = 10, 8, 50


def train(workers: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """Train with that many threads, and return the losses and the weights."""
    rng = np.random.default_rng(0)
    model = GPT(GPTConfig(vocabulary=VOCABULARY, context=32, layers=2, heads=2, width=64), rng)
    optimiser, losses = AdamW(model.params), []

    def gradients(seed: int) -> tuple[float, dict[str, np.ndarray]]:
        numbers = np.random.default_rng(seed).integers(0, VOCABULARY // 2, (4, 17))
        ids = 2 * numbers  # so that there is something to learn
        loss, backward = model.loss((ids[:, :-1], ids[:, 1:]))
        return float(loss), backward()

    with ThreadPoolExecutor(workers) as pool:
        for step in range(STEPS):
            found = list(pool.map(gradients, range(THREADS * step, THREADS * (step + 1))))
            mean = {name: sum(g[name] for _, g in found) / THREADS for name in model.params}
            optimiser.step(mean, learning_rate=1e-2)
            losses += [loss for loss, _ in found]
    return losses, model.params


def main() -> None:
    losses, weights = train(THREADS)
    expected, expected_weights = train(1)
    if losses != expected or any(
        weights[name].tobytes() != expected_weights[name].tobytes() for name in weights
    ):
        raise SystemExit("eight threads: expected the bits of one thread, found others")
    if not losses[-1] < losses[0] - 0.3:
        raise SystemExit(f"expected the losses to fall, found {losses[0]} to {losses[-1]}")
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    if gil and "free-threading" in sys.version:
        raise SystemExit("free-threaded Python: expected no GIL, but an import has enabled it")
    where = f"Python {platform.python_version()}, GIL {'on' if gil else 'off'}"
    kernels = minillm.kernels_info()["kernels"]
    print(f"{where}: {THREADS} threads with {kernels}: {losses[0]:.3f} to {losses[-1]:.3f} nats")


main()
