"""What is public, by semantic versioning, a name a line: python tests/public.py > tests/public.txt

CONTRIBUTING.md, "Versions", says which names those are.  A function or a class is followed by its
parameters, a run and a vocabulary by their methods, and a verb of the command line by its options.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cached_property
from types import ModuleType
from typing import Any

import minillm
import minillm.models
from minillm.cli.arguments import command_line
from minillm.runs.kind import kinds
from minillm.runs.run import ABILITIES
from minillm.text import Vocabulary

PACKAGES = (
    *("minillm", "minillm.data", "minillm.decoding", "minillm.exercises", "minillm.ops"),
    *("minillm.testing", "minillm.testing.strategies", "minillm.text"),
    *("minillm.timing", "minillm.training", "minillm.training.optimisers"),
)


def lines() -> Iterator[str]:
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name, value in exported(module):
            yield f"{package}.{name}{parameters(value)}"
    for _, name, _ in pkgutil.iter_modules(minillm.models.__path__):
        module = importlib.import_module(f"minillm.models.{name}")
        for config in [n for n in defined(module) if f"{n}Config" in vars(module)]:
            for public in (config, f"{config}Config"):
                yield f"{module.__name__}.{public}{parameters(getattr(module, public))}"
    for name in ABILITIES:
        run = next(kind.run for kind in kinds().values() if hasattr(kind.run, name))
        yield from methods("minillm.load(...)", run, [name])
    yield from methods("minillm.text.Vocabulary", Vocabulary, vars(Vocabulary))
    yield from commands(command_line(), "minillm")


def exported(module: ModuleType) -> list[tuple[str, Any]]:
    """The names in ``__all__``; without it, what a package imports, or what a module defines."""
    imported = [n for n, v in vars(module).items() if n[0] != "_" and not inspect.ismodule(v)]
    usual = imported if hasattr(module, "__path__") else defined(module)
    return sorted((name, getattr(module, name)) for name in getattr(module, "__all__", usual))


def defined(module: ModuleType) -> list[str]:
    """The public functions and classes that a module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", "") == module.__name__
    ]


def methods(name: str, cls: type, members: Iterable[str]) -> Iterator[str]:
    """The public methods and properties among the members of a class."""
    for member in sorted(member for member in members if member[0] != "_"):
        found = inspect.getattr_static(cls, member)
        if callable(found):
            yield f"{name}.{member}{parameters(found)}"
        elif isinstance(found, property | cached_property):
            yield f"{name}.{member}"


def parameters(value: Any) -> str:
    if not callable(value):
        return ""
    try:
        found = inspect.signature(value).parameters.values()
    except ValueError:  # an exception of C
        return ""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    names = [stars.get(p.kind, "") + p.name for p in found if p.name != "self"]
    return f"({', '.join(names)})"


def commands(parser: Any, name: str) -> Iterator[str]:
    """A verb with its arguments and options, and the verbs or kinds below it."""
    if parser.declare:
        parser.declare(parser)
        parser.declare = None
    words, below = [], {}
    for action in parser._actions:
        if hasattr(action, "_name_parser_map"):
            below = action._name_parser_map
        elif action.option_strings:
            words += [o for o in action.option_strings if o.startswith("--") and "help" not in o]
        else:
            words.append(str(action.metavar or action.dest))
    yield " ".join([name, *words])
    for verb, verb_parser in below.items():
        yield from commands(verb_parser, f"{name} {verb}")


if __name__ == "__main__":
    print("\n".join(lines()))
