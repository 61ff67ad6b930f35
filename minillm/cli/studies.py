"""Verbs whose programs are in ``benchmarks/studies/``: a checkout has them, an installation not."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from minillm.cli.arguments import ArgumentParser
from minillm.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> ModuleType:
    """The program of a verb; InputError where there is only the installed package."""
    file = f"benchmarks/studies/{name}.py"
    if not (ROOT / file).exists():
        raise InputError(
            f"{name}: expected a checkout of minillm's source, which has this program as {file}; "
            "found the installed package alone"
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"benchmarks.studies.{name}")


def declare(name: str, parser: ArgumentParser) -> None:
    """Declare the arguments of a program, and show its help page."""
    study = program(name)
    parser.set_page(study)
    study.add_arguments(parser)
