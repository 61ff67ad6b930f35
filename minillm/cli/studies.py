"""Verbs whose programs are in ``benchmarks/studies/``, which only a checkout has."""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from minillm.cli.arguments import ArgumentParser
from minillm.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> ModuleType:
    """The program of a verb, of the checkout that this package or the working directory is in.

    InputError where there is none.
    """
    file = f"benchmarks/studies/{name}.py"
    root = next((root for root in (ROOT, Path.cwd()) if (root / file).exists()), None)
    if root is None:
        raise InputError(
            f"{name}: expected a checkout of minillm's source as the working directory, because "
            f"{file} has this program; found the installed package alone"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module(f"benchmarks.studies.{name}")


def verb(name: str) -> tuple[Callable[..., None], Callable[..., int]]:
    """``add_arguments`` and ``run`` of the verb whose program has this name."""

    def add_arguments(parser: ArgumentParser) -> None:
        study = program(name)
        parser.set_page(study)
        study.add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        return program(name).run(args)

    return add_arguments, run
