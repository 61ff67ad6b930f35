"""What a training reports: its length, its best loss, and its loss curve."""

import math

from minillm.errors import InputError
from minillm.plots import loss_curve
from minillm.runs.kind import Training
from minillm.training import Options, Summary
from minillm.training.progress import minutes_and_seconds

BASELINE_FRACTION = 0.9  # of the baseline's loss, above which a model has barely learned


def no_better(summary: Summary) -> str:
    """The number of validations since the best loss, in words."""
    count = f"{summary.waited} validation{'s' * (summary.waited != 1)}"
    return f"{count} in a row without a better loss"


def report_losses(training: Training, options: Options, summary: Summary) -> None:
    """Report how far the training went, and the best validation loss."""
    report, unit = training.report, training.unit
    early = options.gives_up(summary)
    how_far = f"{summary.step:,} steps, {summary.tokens:,} {unit}s"
    best = f"step {summary.best_step:,}"
    if options.in_epochs:
        how_far = f"{options.epoch(summary.step):,.3g} epochs, {how_far}"
        best = f"epoch {options.epoch(summary.best_step):,.3g}"
    word = "stopped" if summary.interrupted else "stopped early" if early else "trained"
    report(f"{word} after {how_far}, {minutes_and_seconds(summary.seconds)}")
    if early:
        report(f"{no_better(summary)}: the best was at {best}")
    if math.isfinite(summary.best_loss):
        report(f"validation loss {summary.best_loss:.4f} nats per {unit} ({best})")
    if BASELINE_FRACTION * training.baseline < summary.best_loss < math.inf:
        report(
            f"the model has barely learned: always predicting by frequency gives a loss of "
            f"{training.baseline:.4f}; train it longer"
        )


def draw_losses(training: Training) -> None:
    """Draw the loss curve, and report where it is."""
    folder = training.folder
    try:
        extra = extra_of(training.settings, training.model.config)
        folder.save_file("loss.png", loss_curve(folder.read_metrics(), training.unit, extra))
        training.report(f"loss curve: {folder.path / 'loss.png'}")
    except InputError as error:
        training.report(f"loss curve: not drawn: {error}")


def extra_of(settings: object, config: object) -> str:
    """The parts of the training loss that the validation loss lacks, for a plot's legend."""
    names = ("dropout", "label_smoothing")
    used = [
        name.replace("_", " ")
        for name in names
        if getattr(settings, name, None) or getattr(config, name, None)
    ]
    return " and ".join(used)
