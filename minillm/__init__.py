"""minillm: the history of language models, as NumPy source that people read."""

from minillm._kernels import kernels_info, use_kernels

__version__ = "0.1.0"
__all__ = ["kernels_info", "use_kernels"]
