"""minillm: the history of language models, as NumPy source that people read."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minillm._kernels import kernels_info, use_kernels
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


def __getattr__(name: str) -> Any:
    """Imported when they are used: a command handles Ctrl-C before it imports anything else."""
    if name not in ("kernels_info", "use_kernels"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from minillm import _kernels

    return getattr(_kernels, name)
