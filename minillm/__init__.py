"""minillm: the history of language models, as NumPy source that people read."""

from typing import TYPE_CHECKING, Any

from minillm._kernels import kernels_info, use_kernels

if TYPE_CHECKING:
    from minillm.runs.run import Run

__version__ = "0.1.0"
__all__ = ["kernels_info", "load", "use_kernels"]


def load(path: Any, allow_nan: bool = False) -> "Run":
    """Opens the run in a folder, of any kind: the folder says what it is.

    >>> run = minillm.load("runs/first")  # doctest: +SKIP
    >>> "".join(run.write("The ", length=200, temperature=0.8, seed=1))  # doctest: +SKIP

    InputError names the file in which something is missing or damaged.  Weights that are not
    finite are opened with ``allow_nan`` only.
    """
    from minillm.runs.run import load

    return load(path, allow_nan)
