"""Runs made without a training: saved, imported, quantised, or merged with LoRA's updates."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from minillm.data.registry import absolute
from minillm.errors import InputError
from minillm.formats.format import Format, formats
from minillm.formats.gguf import export_gguf
from minillm.models.base import Model
from minillm.models.decoders import Decoder
from minillm.models.llama import Llama
from minillm.option import make, types_of
from minillm.quantised.matrix import dequantised
from minillm.runs.config import ToSave, save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import RunConfig, kind_of, kinds
from minillm.runs.load import format_of, importers, load, read_foreign, weights_from
from minillm.runs.lora import check_lora
from minillm.runs.run import Run
from minillm.text import Vocabulary
from minillm.text.open_words import OpenWords

MERGED = "Q8_0"  # the type of weights that are merged with a quantised baseline


def merge(path: str | Path, out: str | Path, overwrite: bool = False) -> str:
    """Merge the updates in ``path`` and their baseline to a new run; return a line about it.

    If the baseline is quantised, the sums are quantised with 8 bits.  With 4 bits, the rounding
    errors are larger than the updates of a short training, which would be lost.
    """
    run = load(path)
    check_lora(run)
    weights: ToSave = run.model.params
    size = sum(weight.size for weight in run.model.params.values())
    suffix = ""
    if run.is_quantised:
        weights, suffix = _quantised(run, MERGED), f", as {MERGED.lower()}"
    _save_with(run, weights, out, overwrite)
    return f"{size:,} weights, those of {run.data['init']} with the additions of {path}{suffix}"


def _save_with(run: Run, weights: ToSave, out: str | Path, overwrite: bool) -> None:
    """Save a run with other weights, which are all that it needs."""
    folder, stored = RunFolder(out), run.stored
    if hasattr(stored.settings, "lora_rank"):
        settings = replace(stored.settings, lora_rank=None, lora_alpha=None)
        stored = replace(stored, settings=settings)
    data = {name: value for name, value in stored.data.items() if name != "init_sha256"}
    with folder.held():
        folder.check_free(overwrite)
        stored = replace(stored, data=data)
        save_run(folder, stored, weights, run.vocabularies, chat=run.chat_template)


def quantise(path: str | Path, form: str, out: str | Path, overwrite: bool = False) -> str:
    """Make a run with weights of another type; return a line about it.

    ``form`` is one of :mod:`minillm.quantised.blocks`.  With "F32" the weights are floats
    again, which can be trained.  InputError unless the model is a Llama or a later decoder.
    """
    run = load(path)
    if not isinstance(run.model, Llama | Decoder):
        raise InputError(f"{run.path}: expected a run of llama, found one of {run.kind.name}")
    weights = dequantised(run.model).params if form == "F32" else _quantised(run, form)
    _save_with(run, weights, out, overwrite)
    before, after = (path.stat().st_size for path in (run.weights_path, RunFolder(out).model_path))
    return f"{form.lower()}: {after:,} bytes of weights, before {before:,}"


def _quantised(run: Run, form: str) -> ToSave:
    """A function that writes the weights of a run of llama, with its updates, as a GGUF file."""
    return partial(export_gguf, run.model, run.tokenizer, block_type=form, chat=run.chat_template)


# --- files of other programs -----------------------------------------------------------------


def _import_updates(reader: Format, file: str, baseline: str, folder: RunFolder) -> str:
    """Make a run from updates to the weights of another one; return a line about it."""
    base, able = load(baseline), importers(reader)
    if type(base.model) not in [kind.model for kind in able]:
        names = [kind.name for kind in able]
        raise InputError(
            f"expected a run of {', '.join(names[:-1])} or {names[-1]}, found one of "
            f"{base.kind.name}",
            "init",
        )
    shapes = type(base.model).shapes(base.model.config)
    # InputError for those that take no additions.
    weights_from(base, base.kind, base.data, shapes, constant=True)
    updates = reader.read(file, base.model)
    settings = replace(base.settings, lora_rank=updates.rank, lora_alpha=updates.alpha)
    data = {**base.data, "init": absolute(baseline), "imported": absolute(file)}
    data["init_sha256"] = base.fingerprint()
    stored = RunConfig(base.kind, base.model.config, settings, data)
    save_run(folder, stored, updates.arrays, base.vocabularies, chat=base.chat_template)
    weights = sum(array.size for array in updates.arrays.values())
    return f"{weights:,} weights of additions to those of {baseline}"


def import_file(
    file: str, out: str | Path, overwrite: bool = False, init: str | None = None
) -> str:
    """Make a run from a file or folder of another program; return a line about it.

    ``init`` is the folder of the run that an adapter updates.
    """
    folder, adapters = RunFolder(out), [one for one in formats() if one.updates]
    if init is not None and not any(one.recognises(Path(file), b"") for one in adapters):
        raise InputError(
            f"expected {' or '.join(str(one.signature) for one in adapters)}, found {file}", "init"
        )
    reader = format_of(file)
    if init is None and reader.updates:
        raise InputError(f"{file}: expected init, the run that its additions are for")
    if init is None:
        run = read_foreign(file)
        run.save(out, overwrite)
        return run.described()
    with folder.held():
        folder.check_free(overwrite)
        return _import_updates(reader, file, init, folder)


# --- models of a training in Python --------------------------------------------------------------


def save(
    model: Model,
    tokenizer: Vocabulary | tuple[Vocabulary, ...],
    out: str | Path,
    overwrite: bool = False,
    **facts: object,
) -> Run:
    """Save a model that was trained elsewhere, such as in your own loop, as a run; return the run.

    An encoder-decoder has two vocabularies, of source and target; a bag of n-grams has none, ().
    ``facts`` are what a kind stores about its data, such as the ``labels`` of a classifier.
    InputError for a model that belongs to no kind.
    """
    kind, folder = kind_of(model), RunFolder(out)
    if kind is None:
        raise InputError(f"expected a model of one of {', '.join(kinds())}, found {model!r}")
    several = tokenizer if isinstance(tokenizer, tuple) else (tokenizer,)
    vocabularies = dict(zip(kind.vocabularies, several, strict=True))
    data = {"imported": "a training in Python", **facts}
    if "files" in types_of(kind.settings):
        data["files"] = []
    first = next(iter(several), None)
    known = {name: getattr(first, name, None) for name in ("unit", "pretokenised")}
    if known["unit"] == OpenWords.unit:  # words that a source may add to
        known["unit"] = "word"
    known = {n: v for n, v in known.items() if n in types_of(kind.settings) and v is not None}
    settings = make(kind.settings, known)
    with folder.held():
        folder.check_free(overwrite)
        save_run(folder, RunConfig(kind, model.config, settings, data), model.params, vocabularies)
    return load(out)
