"""Reading text and laying it out for training."""

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
