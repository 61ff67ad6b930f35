"""A training step of a classifier that trains all weights, its last block, or its head alone.

    python -m benchmarks.frozen [--threads 1 2] [--rounds 9]

Below the lowest trained weight a backward pass stops, and a frozen layer above it computes only dx.
With P products in a forward pass, the head alone therefore takes P and little more, a step of all
weights 3 P: for each product y = x W also dx = dy W^T and dW = x^T dy.  The last of L blocks takes
about P (1 + 2 / L); its dx is not computed where it has no use.

The columns: the weights that are trained; the floating-point operations of the products of a step,
as a multiple of a forward pass; milliseconds, medians of interleaved steps of forward, backward,
clipping and AdamW.  The model is a BERT with a new output layer, and its weights are random.
"""

from collections.abc import Callable, Sequence

import numpy as np

from minillm.models.bert import BERTConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.timing.contest import turns
from minillm.training import AdamW, clip_global_norm
from minillm.training.trained import Trained, depths

from .fine_tuning import CLASSES, RATE, batch_of
from .parts import clocks
from .pytorch import on_threads, parser

LOWEST = {"all weights": 0, "last block and head": -2, "head": -1}  # of the depths in the model
SIZES = {"context": 64, "layers": 6, "heads": 12, "width": 384, "masked_words": False}


def main() -> None:
    args = parser(__doc__).parse_args()
    for count in on_threads(args.threads):
        print(table(args.rounds, count, BERTConfig(30522, **SIZES), batch_of(16)), flush=True)


def table(rounds: int, count: int, config: BERTConfig, batch: Sequence[np.ndarray]) -> str:
    """A row for each part: trained weights, operations, milliseconds."""
    steps, weights = {}, {}
    for part in LOWEST:
        steps[part], weights[part] = step_of(part, config, batch)
    forward = operations(lambda: new_model(config).forward(*batch[:-1]))
    rows = [f"  {'trained':22}{'weights':>12}{'operations':>12}{'ms':>10}"]
    times = turns(steps, 0.0, rounds, count)
    for part, run in steps.items():
        ratio, middle = operations(run) / forward, 1e3 * np.median(times[part])
        rows.append(f"  {part:22}{weights[part]:12,}{ratio:12.2f}{middle:10.1f}")
    return "\n".join(rows)


def new_model(config: BERTConfig) -> FineTuned:
    return FineTuned(FineTunedConfig("bert", config, CLASSES), np.random.default_rng(0))


def step_of(
    part: str, config: BERTConfig, batch: Sequence[np.ndarray]
) -> tuple[Callable[[], None], int]:
    """A training step of a part of the model, and the number of its weights."""
    model = new_model(config)
    depth = depths(model)
    lowest = sorted(set(depth.values()))[LOWEST[part]]
    params = {name: array for name, array in model.params.items() if depth[name] >= lowest}
    trained, optimiser = Trained(params), AdamW(params)
    trained.mark(model)

    def run() -> None:
        _, backward = model.loss(batch)
        gradients = trained.gradients(backward)
        clip_global_norm(gradients, 1.0)
        optimiser.step(gradients, RATE)

    return run, sum(array.size for array in params.values())


def operations(run: Callable[[], object]) -> float:
    """The floating-point operations of the products in a call."""
    with clocks() as (_, counted):
        run()
    return sum(counted.values())


if __name__ == "__main__":
    main()
