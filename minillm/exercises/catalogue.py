"""All exercises, found in the modules ``chapterNN.py``."""

import importlib
import pkgutil
from pathlib import Path

from minillm.exercises.declaration import EXERCISES, Exercise


def exercises() -> dict[str, Exercise]:
    """All exercises by name, in the order of the chapters."""
    for module in sorted(pkgutil.iter_modules([str(Path(__file__).parent)]), key=lambda m: m.name):
        if module.name.startswith("chapter"):
            importlib.import_module(f"{__package__}.{module.name}")
    return EXERCISES


def one_exercise(chapter: int, name: str) -> Exercise:
    """An exercise of a chapter, without loading all others, which takes half a second."""
    importlib.import_module(f"{__package__}.chapter{chapter:02}")
    return EXERCISES[name]
