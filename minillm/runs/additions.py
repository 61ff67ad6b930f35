"""A run that stores LoRA's updates to the weights of another run, its baseline.

    W' = W + s A B        W of the baseline, A and B stored as W.A and W.B

A quantised W stays as it is, and the model also has s A and B (minillm.training.lora).

Next to the updates are weights that the baseline has not, or that replace its own.  The
configuration has the folder of the baseline and the fingerprint of its weights.  When the run is
opened, the updates are merged into the weights; several such runs share one baseline.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.formats.format import Updates
from minillm.quantised import Quantised
from minillm.runs.settings import LoRASettings
from minillm.training.lora import product

if TYPE_CHECKING:
    from minillm.runs.run import Run

Arrays = Mapping[str, NDArray]


def has_additions(settings: object) -> bool:
    """Whether a run with these settings stores updates in place of weights."""
    return bool(getattr(settings, "lora_rank", None))


def check_additions(run: "Run") -> None:
    """InputError for a run that stores its weights themselves."""
    if not has_additions(run.settings):
        raise InputError(f"{run.path}: expected a run with a lora_rank, found one with all weights")


def scale_of(settings: LoRASettings) -> float:
    """s, alpha / rank."""
    assert settings.lora_rank is not None
    return alpha_of(settings) / settings.lora_rank


def alpha_of(settings: LoRASettings) -> float:
    """Alpha, by default twice the rank."""
    return settings.lora_alpha or 2 * (settings.lora_rank or 0)


def split(stored: Arrays, weights: Arrays, path: Path) -> tuple[dict[str, NDArray], Arrays]:
    """The updates to ``weights`` among stored arrays, and all other stored arrays.

    InputError for an update that fits no weight.
    """
    updates = {}
    for name, array in stored.items():
        weight, _, side = name.rpartition(".")
        W = weights.get(weight)
        if W is None or side not in ("A", "B"):
            continue
        rank = stored[f"{weight}.A"].shape[-1] if f"{weight}.A" in stored else 0
        expected = (W.shape[0], rank) if side == "A" else (rank, W.shape[-1])
        other = f"{weight}.{'B' if side == 'A' else 'A'}"
        if W.ndim != 2 or array.shape != expected or other not in stored or array.dtype != W.dtype:
            raise InputError(
                f"{path}: {short(name)}: expected additions A (I, r) and B (r, O) to a weight "
                f"(I, O) of the model, found shape {array.shape}"
            )
        updates[name] = array
    return updates, {name: array for name, array in stored.items() if name not in updates}


def merged(
    weights: Arrays, stored: Arrays, scale: float, path: Path
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """The baseline's weights with the updates among ``stored``, and all others of these.

    Also s A and B of the weights that are quantised, which have no update.
    """
    updates, others = split(stored, weights, path)
    whole = {**weights, **others}
    factors: dict[str, NDArray] = {}
    for name, A in updates.items():
        if not name.endswith(".A"):
            continue
        W = name.removesuffix(".A")
        scaled, B = A * A.dtype.type(scale), updates[f"{W}.B"]
        if isinstance(weights[W], Quantised):
            factors |= {name: scaled, f"{W}.B": B}
        else:
            whole[W] = np.ascontiguousarray(weights[W] + product(scaled, B))
    return whole, factors


def updates_of(run: "Run") -> Updates:
    """The updates that a run stores, and its other weights.  InputError for a run without."""
    check_additions(run)
    assert run.folder is not None
    updates, others = split(run.folder.load_model(), run.model.params, run.weights_path)
    arrays, settings = {**updates, **others}, run.settings
    return Updates(run.model, arrays, settings.lora_rank, alpha_of(settings), run.data["init"])
