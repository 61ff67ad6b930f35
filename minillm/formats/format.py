"""A file format of another program: what it is called, and how its files are read and written.

A format is a row of ``FORMATS`` in a module of this folder: plain data and three functions.  A new
format is ``formats/x.py`` and its test; no verb, kind of model or list names it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from minillm.text import ChatTemplate


@dataclass(frozen=True)
class Contents:
    """The contents of a file: a model with its tokenizer and its chat template."""

    model: Any
    tokenizer: Any
    chat: ChatTemplate | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # stored with the data of a run
    weights: Path | None = None  # the file of the weights, for a run


@dataclass(frozen=True)
class LoraWeights:
    """LoRA's updates to the weights of a model, named as in minillm/training/lora.py.

    ``arrays`` may also contain whole weights, which replace the weights of the model.
    """

    model: Any
    arrays: Mapping[str, NDArray]
    rank: int
    alpha: float
    baseline: str = ""  # the name of the model that they update


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format.

    ``read(path)`` returns the Contents of a file or folder, or ``read(path, model)`` the
    LoraWeights of a model.  InputError names the file, and the part that is missing, damaged or not
    supported.
    ``write(contents, path)`` writes them, whole or not at all.
    """

    name: str  # the value of ``export --format``
    models: tuple[type, ...]  # the classes of models that are read from it
    read: Callable[..., Any]
    write: Callable[..., None]
    recognises: Callable[[Path, bytes], bool]  # a folder, or a file that begins with these bytes
    default: str  # the file or folder to write in the folder of a run
    signature: str  # for messages: a description of files to read
    suffix: str | None = None  # of files that have this format without ``--format``
    fits: Callable[[Any], bool] | None = None  # whether it holds a model; None: those it reads
    updates: bool = False  # whether it holds LoRA's updates to a model instead of one

    def holds(self, model: Any) -> bool:
        """Whether a file can hold this model."""
        return self.fits(model) if self.fits else type(model) in self.models


def formats() -> list[Format]:
    """All formats: whole models before updates, and folders before files with a suffix."""
    folder = importlib.import_module(str(__package__))
    modules = [
        importlib.import_module(f"{folder.__name__}.{module.name}")
        for module in pkgutil.iter_modules(folder.__path__)
    ]
    found = [one for module in modules for one in getattr(module, "FORMATS", ())]
    return sorted(found, key=lambda one: (one.updates, one.suffix is not None, one.name))
