"""A file format of another program is one declaration, an object in the ``FORMATS`` of a module.

It declares the name of the format, the models that a file can hold, how a file is recognised, read
and written, and the options of writing.  A new format is ``formats/x.py`` and its test; no verb,
kind of model or list names it.
"""

import importlib
import pkgutil
from collections.abc import Mapping
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
class Updates:
    """LoRA's updates to the weights of a model, named as in minillm/training/lora.py.

    ``arrays`` may also contain whole weights, which replace the weights of the model.
    """

    model: Any
    arrays: Mapping[str, NDArray]
    rank: int
    alpha: float
    baseline: str = ""  # the name of the model that they update


@dataclass(frozen=True)
class NoOptions:
    """No options."""


class Format:
    """One format.  Formats of different models may share a name, like folders of transformers."""

    name: str  # the value of ``export --format``
    models: tuple[type, ...]  # the classes of models that it holds
    default: str  # the file or folder to write in the folder of a run
    suffix: str | None = None  # of files that have this format without ``--format``
    signature: str | None = None  # for messages: a description of files to read
    updates: bool = False  # whether it holds LoRA's updates to a model instead of one
    options: type = NoOptions  # of writing: a dataclass, see minillm.option

    def holds(self, model: Any) -> bool:
        """Whether a file can hold this model."""
        return type(model) in self.models

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether ``read`` reads this folder, or this file, which begins with ``head``."""
        return False

    def read(self, path: str, baseline: Any = None) -> Any:
        """The Contents of a file, or the Updates in it for the model ``baseline``.

        InputError names the file, and the part that is missing, damaged or not supported.
        """
        raise NotImplementedError

    def write(self, contents: Any, path: str | Path, options: Any) -> None:
        """Write Contents or Updates, whole or not at all.  InputError if the format lacks a way."""
        raise NotImplementedError


def formats() -> list[Format]:
    """All formats: whole models before updates, and folders before files with a suffix."""
    folder = importlib.import_module(str(__package__))
    modules = [
        importlib.import_module(f"{folder.__name__}.{module.name}")
        for module in pkgutil.iter_modules(folder.__path__)
    ]
    found = [one for module in modules for one in getattr(module, "FORMATS", ())]
    return sorted(found, key=lambda one: (one.updates, one.suffix is not None, one.name))
