"""The interface for Python: train a run on Python objects, or save a model as a run.

run = minillm.train("lm", "runs/x", text="...", steps=500)
run = minillm.train("classifier", texts=["...", ...], labels=["good", ...])
run = minillm.train("transformer", pairs=[("one", "un"), ...])
run = minillm.train("word2vec", sentences=[["a", "b"], ...])
"""

import inspect
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from minillm.errors import InputError, in_python
from minillm.mpi import ranks
from minillm.option import check_names, make, types_of
from minillm.runs import python_data
from minillm.runs.config import save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Stored, find_kind, kinds
from minillm.runs.load import load
from minillm.runs.run import Run
from minillm.runs.train import train as train_run
from minillm.text import Vocabulary


def train(
    kind: str,
    out: str | Path | None = None,
    *,
    text: str | None = None,
    files: str | Path | Sequence[str | Path] | None = None,
    texts: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
    pairs: Iterable[tuple[str, str]] | None = None,
    sentences: Iterable[Sequence[str]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[str], None] | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train a model of a kind, such as "lm", and return the finished run.

    The run is in the folder ``out``; None: in memory, until ``run.save(folder)``.  The data are a
    text, texts with labels, pairs of source and target, sentences as lists of words, or files.  A
    run stores data that are not in files.  The settings are the options of
    ``minillm train KIND --help``, as keyword arguments: ``learning_rate=1e-3``.

    Ctrl-C ends the training, and the run so far is returned; ``resume=True`` continues it.
    ``report``, by default ``print``, is called with each line of output.  ``quiet`` shows nothing.

    InputError for wrong settings or data.
    """
    declared = find_kind(kind)
    check_names(settings, [*types_of(declared.settings), *inspect.signature(train).parameters])
    if resume and out is None:
        raise InputError("resume: expected out, the folder of the run to resume")
    if out is None and ranks().size > 1:
        raise InputError("out: expected a folder, which all ranks share")
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="minillm-"))
    show = report or (lambda line: None if quiet else print(line))
    given_as = " or ".join((*declared.takes, "files")).replace("labels", "texts")
    names: dict[str | Path, str] = {"DATA: ": f"{given_as}: "}
    if out is None:
        names |= {f"; {folder} keeps the last good state": "", folder: "the run"}
    try:
        with (
            python_data.named_as(names),
            python_data.written(
                declared,
                files=files,
                text=text,
                sentences=sentences,
                texts=texts,
                labels=labels,
                pairs=pairs,
            ) as path,
        ):
            if path is not None:
                files = path
                settings |= {"pretokenised": True} if sentences is not None else {}
            settings = {n: str(v) if isinstance(v, Path) else v for n, v in settings.items()}
            if files is not None:
                settings |= _files(declared.settings, files)
            train_run(
                declared,
                folder,
                settings,
                resume=resume,
                overwrite=overwrite,
                report=lambda line: show(in_python(line)),
                quiet=quiet,
                resume_command=f'minillm.train("{kind}", "{folder}", resume=True)',
                attached={path.name: path} if path is not None else {},
            )
        run = load(folder)
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if out is None:
        run.folder.temporary = True
        weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run


def _files(settings: type, files: str | Path | Sequence[str | Path]) -> dict[str, Any]:
    """The setting for the files: some kinds take one, others several."""
    names = tuple(map(str, [files] if isinstance(files, str | Path) else files))
    if "files" in types_of(settings):
        return {"files": names}
    if len(names) != 1:
        raise InputError(f"files: expected one file, found {len(names)}")
    return {"data": names[0]}


def save(
    model: Any,
    tokenizer: Vocabulary | tuple[Vocabulary, ...],
    out: str | Path,
    overwrite: bool = False,
    **facts: Any,
) -> Run:
    """Save a model that was trained elsewhere, such as in your own loop, as a run; return the run.

    An encoder-decoder has two vocabularies, of source and target; a bag of n-grams has none, ().
    ``facts`` are those that a kind stores about its data, such as the ``labels`` of a classifier.
    InputError for a model that belongs to no kind.
    """
    kind = next((kind for kind in kinds().values() if type(model) is kind.model), None)
    if kind is None:
        raise InputError(f"expected a model of one of {', '.join(kinds())}, found {model!r}")
    folder = RunFolder(out)
    several = tokenizer if isinstance(tokenizer, tuple) else (tokenizer,)
    vocabularies = dict(zip(kind.vocabularies, several, strict=True))
    data = {"imported": "a training in Python", **facts}
    if "files" in types_of(kind.settings):
        data["files"] = []
    settings = make(kind.settings, _units(kind.settings, several[0]) if several else {})
    with folder.held():
        folder.check_free(overwrite)
        save_run(folder, Stored(kind, model.config, settings, data), model.params, vocabularies)
    return load(out)


def _units(settings: type, tokenizer: Vocabulary) -> dict[str, Any]:
    """The settings that describe the tokens."""
    known = {name: getattr(tokenizer, name, None) for name in ("unit", "pretokenised")}
    names = types_of(settings)
    return {name: value for name, value in known.items() if name in names and value is not None}
