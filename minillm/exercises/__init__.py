"""The exercises of the book: a file with a hole, a check that says what is wrong, and hints.

``declaration.py`` has what an exercise is, ``grading.py`` how an answer is judged, ``desk.py`` the
reader's files and progress.  Each module ``chapterNN.py`` holds the exercises of one chapter, and
nothing else lists them.
"""

import importlib
import pkgutil

from minillm.exercises.declaration import EXERCISES, Exercise


def exercises() -> dict[str, Exercise]:
    """Return all exercises by name, in the order of the chapters."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if module.name.startswith("chapter"):
            importlib.import_module(f"{__name__}.{module.name}")
    return EXERCISES
