"""Runs that store only LoRA's updates to the weights of another run, the baseline.

    W' = W + s A B        W of the baseline, A and B stored as ``W.A`` and ``W.B``

The run also stores any weights that the baseline lacks.  Its configuration has the folder of the
baseline and the fingerprint of its weights.  When the run is opened, the updates are merged into
the weights.  Several such runs can share one baseline.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Data
from minillm.training.lora import product

Arrays = Mapping[str, NDArray]


def has_additions(settings: object) -> bool:
    """Return whether a run with these settings stores updates instead of weights."""
    return getattr(settings, "lora_rank", None) is not None


def scale_of(settings: Any) -> float:
    """Return s, alpha / rank."""
    return (settings.lora_alpha or 2 * settings.lora_rank) / settings.lora_rank


def check_baseline(data: Data) -> None:
    """Store the baseline's fingerprint in ``data``; InputError if it had another one before."""
    path = data["init"]
    fingerprint = RunFolder(path).fingerprint()
    if data.setdefault("init_sha256", fingerprint) != fingerprint:
        raise InputError(f"{path}: its weights are not those that the additions were trained for")


def split(stored: Arrays, weights: Arrays, path: Path) -> tuple[dict[str, NDArray], Arrays]:
    """Split stored arrays into updates to ``weights``, and all others.

    InputError for an update that does not fit a weight.
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


def merged(weights: Arrays, stored: Arrays, scale: float, path: Path) -> dict[str, NDArray]:
    """Return the baseline's weights with the updates in ``stored``, and its other weights."""
    updates, others = split(stored, weights, path)
    whole = {**weights, **others}
    for name, A in updates.items():
        if name.endswith(".A"):
            W = name.removesuffix(".A")
            whole[W] = weights[W] + product(A * A.dtype.type(scale), updates[f"{W}.B"])
    return {name: np.ascontiguousarray(array) for name, array in whole.items()}
