"""Data: reading files and built-in sets, and batching them for training.

The names below are imported from their modules when they are first used: whoever asks for the
names of the built-in sets alone (:mod:`minillm.data.registry`) does not wait for NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minillm.data.corpora import builtin_corpus, read_text, split_text
    from minillm.data.sequences import Minibatches, Sequences
    from minillm.data.shards import Shards
    from minillm.data.tokenizing import write_shards
    from minillm.data.windows import RandomWindows, Windows, overlapping_windows, windows_once

__all__ = [
    "Minibatches",
    "RandomWindows",
    "Sequences",
    "Shards",
    "Windows",
    "builtin_corpus",
    "overlapping_windows",
    "read_text",
    "split_text",
    "windows_once",
    "write_shards",
]

_MODULES = {
    "Minibatches": "sequences",
    "RandomWindows": "windows",
    "Sequences": "sequences",
    "Shards": "shards",
    "Windows": "windows",
    "builtin_corpus": "corpora",
    "overlapping_windows": "windows",
    "read_text": "corpora",
    "split_text": "corpora",
    "windows_once": "windows",
    "write_shards": "tokenizing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
