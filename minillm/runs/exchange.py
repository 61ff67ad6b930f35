"""Importing models of other programs, and exporting and merging LoRA's updates."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.registry import absolute
from minillm.errors import InputError
from minillm.formats.gguf_llama import dequantised, export_gguf, export_gguf_adapter
from minillm.formats.peft import Adapted, is_adapter, read_adapter, write_adapter
from minillm.models.llama import Llama
from minillm.runs.folder import RunFolder
from minillm.runs.importing import kind_of
from minillm.runs.kind import Stored
from minillm.runs.opening import has_additions, load, scale_of, split, weights_from
from minillm.runs.run import Run
from minillm.runs.stored import read_config, save_run

MERGED = "Q8_0"  # the type of weights that are merged with a quantised baseline


def merge(
    path: str | Path, out: str | Path, overwrite: bool = False, allow_nan: bool = False
) -> str:
    """Merge the updates in ``path`` and their baseline to a new run; return a line about it.

    If the baseline is quantised, the sums are quantised with 8 bits.  With 4 bits, the rounding
    errors are larger than the updates of a short training, which would be lost.
    """
    run = load(path, allow_nan)
    _check_additions(run)
    weights: Any = run.model.params
    size = sum(weight.size for weight in weights.values())
    type = ""
    if not all(isinstance(weight, np.ndarray) for weight in weights.values()):
        weights, type = _quantised(run, MERGED), f", as {MERGED.lower()}"
    _save_with(run, weights, out, overwrite)
    return f"{size:,} weights, those of {run.data['init']} with the additions of {path}{type}"


def _save_with(run: Run, weights: Any, out: str | Path, overwrite: bool) -> None:
    """Save a run with other weights, which are all that it needs."""
    folder, stored = RunFolder(out), read_config(run.folder)
    settings = replace(stored.settings, lora_rank=None, lora_alpha=None, lora_targets="all")
    data = {name: value for name, value in stored.data.items() if name != "init_sha256"}
    with folder.held():
        folder.check_free(overwrite)
        stored = replace(stored, settings=settings, data=data)
        save_run(folder, stored, weights, run.vocabularies, chat=run.chat_template())


def quantise(path: str | Path, type: str, out: str | Path, overwrite: bool = False) -> str:
    """Make a run with weights of another type; return a line about it.

    ``type`` is one of :mod:`minillm.formats.gguf_blocks`.  With "F32" the weights are floats
    again, which can be trained.  InputError for a run of another kind than llama.
    """
    run = load(path)
    if not isinstance(run.model, Llama):
        raise InputError(f"{run.path}: expected a run of llama, found one of {run.kind.name}")
    weights = dequantised(run.model).params if type == "F32" else _quantised(run, type)
    _save_with(run, weights, out, overwrite)
    before, after = (folder.model_path.stat().st_size for folder in (run.folder, RunFolder(out)))
    return f"{type.lower()}: {after:,} bytes of weights, before {before:,}"


def _quantised(run: Run, type: str) -> Any:
    """A function that writes the weights of a run of llama, with its updates, as a GGUF file."""
    return partial(export_gguf, run.model, run.tokenizer, type=type, chat=run.chat_template())


def _check_additions(run: Run) -> None:
    if not has_additions(run.settings):
        raise InputError(f"{run.path}: expected a run with --lora-rank, found one with all weights")


# --- files of PEFT ---------------------------------------------------------------------------


def export_additions(run: Run, file: str | Path, prefix: str = "", model: Any = None) -> None:
    """Write the updates in PEFT's format.

    ``model`` is the part of the run's model, by default all of it, whose weights have the prefix.
    """
    _check_additions(run)
    updates, _ = split(run.folder.load_model(), run.model.params, run.folder.model_path)
    updates = {name.removeprefix(prefix): array for name, array in updates.items()}
    whole = model is None
    model = run.model if whole else model
    if not isinstance(model, Adapted):
        raise InputError(f"{run.path}: expected additions to a gpt, a llama or a bert")
    write_adapter(file, model, updates, scale_of(run.settings), run.data["init"], whole)


def export_gguf_additions(run: Run, file: str | Path) -> None:
    """Write the updates to a Llama as an adapter of llama.cpp."""
    _check_additions(run)
    updates, _ = split(run.folder.load_model(), run.model.params, run.folder.model_path)
    export_gguf_adapter(run.model, updates, scale_of(run.settings), file)


def _import_additions(file: str, baseline: str, folder: RunFolder) -> str:
    """Make a run from updates in PEFT's format; return a line about it."""
    base = load(baseline)
    if not isinstance(base.model, Adapted):
        raise InputError(
            f"--init: expected a run of gpt, llama or bert, found one of {base.kind.name}"
        )
    shapes = base.kind.model.shapes(base.model.config)
    weights_from(base, base.kind, base.data, shapes)  # InputError for those that take no additions
    updates: Mapping[str, NDArray]
    updates, rank, alpha = read_adapter(file, base.model)
    settings = replace(base.settings, lora_rank=rank, lora_alpha=alpha, lora_targets="all")
    data = {**base.data, "init": absolute(baseline), "imported": absolute(file)}
    data["init_sha256"] = base.folder.fingerprint()
    stored = Stored(base.kind, base.model.config, settings, data)
    save_run(folder, stored, updates, base.vocabularies, chat=base.chat_template())
    weights = sum(array.size for array in updates.values())
    return f"{weights:,} weights of additions to those of {baseline}"


# --- files of other programs -----------------------------------------------------------------


def import_file(
    file: str, out: str | Path, overwrite: bool = False, init: str | None = None
) -> str:
    """Make a run from a file or folder of another program; return a line about it.

    ``init`` is the folder of the run that an adapter updates.
    """
    folder = RunFolder(out)
    if is_adapter(file) != (init is not None):
        if init:
            raise InputError(f"{file}: --init: expected a folder with adapter_config.json")
        raise InputError(f"{file}: expected --init DIR, the run that its additions are for")
    with folder.held():
        folder.check_free(overwrite)
        if init is not None:
            return _import_additions(file, init, folder)
        return kind_of(file).import_file(file, folder)
