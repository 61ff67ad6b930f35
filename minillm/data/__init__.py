"""Data: reading files and built-in sets, and making batches for training."""

from minillm.data.corpora import read_text, split_text
from minillm.data.python_texts import builtin_corpus
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
