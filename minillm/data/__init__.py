"""Data: reading files and built-in sets, and batching them for training.

The names below are imported from their modules when they are first used: whoever asks for the
names of the built-in sets alone (:mod:`minillm.data.registry`) does not wait for NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minillm.data.corpora import builtin_corpus, read_text, split_text
    from minillm.data.sequences import Minibatches, Sequences
    from minillm.data.windows import Windows, windows_once

__all__ = [
    "Minibatches",
    "Sequences",
    "Windows",
    "builtin_corpus",
    "read_text",
    "split_text",
    "windows_once",
]

_MODULES = {
    "Minibatches": "sequences",
    "Sequences": "sequences",
    "Windows": "windows",
    "builtin_corpus": "corpora",
    "read_text": "corpora",
    "split_text": "corpora",
    "windows_once": "windows",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
