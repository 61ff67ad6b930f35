"""minillm: the history of language models, as NumPy source that people read."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minillm._kernels import kernels_info, use_kernels, use_precision, use_threads
    from minillm.runs.conversion import save
    from minillm.runs.door import train
    from minillm.runs.load import load

__version__ = "1.0.0"
__all__ = ["kernels_info", "load", "save", "train", "use_kernels", "use_precision", "use_threads"]

_MODULES = {
    "kernels_info": "_kernels",
    "use_kernels": "_kernels",
    "use_precision": "_kernels",
    "use_threads": "_kernels",
    "load": "runs.load",
    "save": "runs.conversion",
    "train": "runs.door",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is used: ``import minillm`` waits for nothing."""
    if name not in _MODULES:
        from minillm.errors import InputError, elsewhere  # saves 7 ms

        hint = elsewhere(name, __all__)
        # "from minillm import" would replace the message of an AttributeError by Python's own.
        error = InputError if hint else AttributeError
        raise error(f"module {__name__!r} has no attribute {name!r}{hint}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
