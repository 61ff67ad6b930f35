"""A run that stores LoRA's updates to the weights of another run, its baseline.

    W' = W + s A B        W of the baseline, A and B stored as W.A and W.B

A quantised W stays as it is, and the model also has s A and B (minillm.training.lora).

Next to the updates are weights that the baseline has not, or that replace its own.  The
configuration has the folder of the baseline and the fingerprint of its weights.  When the run is
opened, the updates are merged into the weights; several such runs share one baseline.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minillm.errors import InputError
from minillm.formats.format import LoraWeights
from minillm.quantised import Quantised, QuantisedLora
from minillm.runs.settings import LoRASettings
from minillm.training.lora import product

if TYPE_CHECKING:
    from minillm.runs.run import Run


def has_lora(settings: object) -> bool:
    """Whether a run with these settings stores updates in place of weights."""
    return bool(getattr(settings, "lora_rank", None))


def check_lora(run: "Run") -> None:
    """InputError for a run that stores its weights themselves."""
    if not has_lora(run.settings):
        raise InputError(f"{run.path}: expected a run with a lora_rank, found one with all weights")


def scale_of(settings: LoRASettings) -> float:
    """s, alpha / rank."""
    assert settings.lora_rank is not None
    return alpha_of(settings) / settings.lora_rank


def alpha_of(settings: LoRASettings) -> float:
    """Alpha, by default twice the rank."""
    return settings.lora_alpha or 2 * (settings.lora_rank or 0)


def merged(
    weights: Mapping[str, Any], stored: Mapping[str, Any], scale: float, path: Path
) -> dict[str, Any]:
    """The baseline's weights with the updates among ``stored``, and all others of these.

    InputError for an update that does not fit its weight.
    """
    result = {**weights, **stored}
    for name, W in weights.items():
        if result.keys().isdisjoint((f"{name}.A", f"{name}.B")):
            continue
        A, B = (result.pop(f"{name}.{side}", np.empty(0)) for side in "AB")
        rank = A.shape[-1]
        expected = (W.shape[0], rank), (rank, W.shape[-1]), {W.dtype}
        if W.ndim != 2 or (A.shape, B.shape, {A.dtype, B.dtype}) != expected:
            raise InputError(
                f"{path}: {name}: expected additions A (I, r) and B (r, O) to a weight (I, O) of "
                f"{W.dtype}, found {A.dtype} {A.shape} and {B.dtype} {B.shape}"
            )
        A = A * A.dtype.type(scale)
        if isinstance(W, Quantised):
            result[name] = QuantisedLora(W, A, B)
        else:
            result[name] = np.ascontiguousarray(W + product(A, B))
    return result


def lora_weights_of(run: "Run") -> LoraWeights:
    """The updates that a run stores, and its other weights.  InputError for a run without."""
    check_lora(run)
    assert run.folder is not None
    arrays, settings = run.folder.load_model(), run.settings
    return LoraWeights(run.model, arrays, settings.lora_rank, alpha_of(settings), run.data["init"])
