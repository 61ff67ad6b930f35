"""Training from Python: ``minillm.train``.

run = minillm.train("lm", "runs/x", text="...", steps=500)
run = minillm.train("classifier", texts=["...", ...], labels=["good", ...])
run = minillm.train("transformer", pairs=[("one", "un"), ...])
run = minillm.train("word2vec", sentences=[["a", "b"], ...])
"""

import functools
import inspect
import os.path
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from minillm.errors import InputError, short
from minillm.mpi import ranks
from minillm.option import check_names, types_of
from minillm.runs.kind import find_kind
from minillm.runs.load import load
from minillm.runs.python_data import named_as, python_data
from minillm.runs.run import Run
from minillm.runs.train import train_run

P = ParamSpec("P")
R = TypeVar("R")


def _two_by_position(function: Callable[P, R]) -> Callable[P, R]:
    """InputError for data as a further argument, whose TypeError would not name ``files``."""

    @functools.wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        if len(args) + ("out" in named) > 2 or (len(args) == 2 and os.path.isfile(str(args[1]))):
            raise InputError(f"expected the data by name: files={short(args[-1])}", "files")
        return function(*args, **named)

    return call


@_two_by_position
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
    **settings: object,
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
        raise InputError("expected out, the folder of the run to resume", "resume")
    if out is None and ranks().size > 1:
        raise InputError("expected a folder, which all ranks share", "out")
    if sentences is not None:
        settings["pretokenised"] = True
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="minillm-")).resolve()
    show = report or (lambda line: None if quiet else print(line))
    given_as = " or ".join((*declared.takes, "files")).replace("labels", "texts")
    names = {"DATA: ": f"{given_as}: "}
    if out is None:
        names |= {f"; {folder} keeps the last good state": "", str(folder): "the run"}
    try:
        with (
            named_as(names),
            python_data(declared, files, text, sentences, texts, labels, pairs) as path,
        ):
            if path is not None:
                files = path
            settings = {n: str(v) if isinstance(v, Path) else v for n, v in settings.items()}
            if files is not None:
                settings |= _files(declared.settings, files)
            train_run(
                declared,
                folder,
                settings,
                resume=resume,
                overwrite=overwrite,
                report=show,
                quiet=quiet,
                resume_command=f'minillm.train("{declared.name}", "{folder}", resume=True)',
                attached={path.name: path} if path is not None else {},
            )
        run = load(folder)
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if out is None:
        assert run.folder is not None
        run.folder.temporary = True
        weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run


def _files(settings: type, files: str | Path | Sequence[str | Path]) -> dict[str, object]:
    """The setting for the files: some kinds take one, others several."""
    names = tuple(map(str, [files] if isinstance(files, str | Path) else files))
    if "files" in types_of(settings):
        return {"files": names}
    if len(names) != 1:
        raise InputError(f"expected one file, found {len(names)}", "files")
    return {"data": names[0]}
