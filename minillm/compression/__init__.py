"""Compression: a language model and a range coder make any file shorter, and give it back."""

from minillm.compression.archive import Compressed, compress, decompress

__all__ = ["Compressed", "compress", "decompress"]
