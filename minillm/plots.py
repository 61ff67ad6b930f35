"""Pictures: the loss curve of a run."""

import io
from collections.abc import Sequence


def loss_curve(records: Sequence[dict], unit: str = "token") -> bytes:
    """The training and validation losses of ``metrics.jsonl`` by step, as a PNG.

    ``unit`` is what a loss is per: "character", "word".  Needs matplotlib (ImportError).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    training = [(r["step"], r["loss"]) for r in records if "loss" in r]
    validation = [(r["step"], r["validation_loss"]) for r in records if "validation_loss" in r]
    if training:
        axes.plot(*zip(*training, strict=True), color="tab:blue", linewidth=1, label="training")
    if validation:
        best = min(validation, key=lambda point: point[1])
        label = f"validation (best {best[1]:.3f})"
        axes.plot(*zip(*validation, strict=True), "o-", color="tab:orange", label=label)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss (nats per {unit})")
    axes.grid(alpha=0.3)
    if training or validation:
        axes.legend()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()
