"""From the settings of a kind to the options of its command."""

import argparse
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Any

from minillm.runs.settings import GROUPS, Option, Size, TrainingSettings, option_of, types_of

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def add_settings(
    parser: argparse.ArgumentParser, settings: type, without: Collection[str] = ()
) -> None:
    """Declares an argument for each other field; the result has only those that are given."""
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    exclusive: dict[frozenset[str], Any] = {}
    for entry in fields(settings):
        if entry.name in without:
            continue
        declared = option_of(settings, entry.name)
        place: Any = parser if declared.positional else groups[declared.group]
        if declared.excludes:
            names = frozenset((entry.name, *declared.excludes))
            place = exclusive.setdefault(names, None) or place.add_mutually_exclusive_group()
            exclusive[names] = place
        _add_argument(place, settings, entry.name, entry.default, declared)


def given_settings(args: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The fields that were given."""
    values = {entry.name: getattr(args, entry.name, None) for entry in fields(settings)}
    return {name: value for name, value in values.items() if value is not None}


def _add_argument(place: Any, settings: type, name: str, default: Any, declared: Option) -> None:
    type_, several, _ = types_of(settings)[name]
    details: dict[str, Any] = {"help": declared.help.replace("%", "%%")}
    shown = declared.default_help if declared.default_help is not None else _shown(default)
    if shown and not declared.positional:
        details["help"] += f" (default {shown})"
    if type_ is bool:
        details["action"] = "store_true"
    else:
        details["metavar"] = declared.metavar
        if declared.choices and not declared.positional:
            details["choices"] = declared.choices
        else:
            details["type"] = parser_of(declared, type_)
    if declared.positional:
        details["nargs"] = "*" if several else "?"
        place.add_argument(name, default=argparse.SUPPRESS if several else None, **details)
        return
    if several:
        details["nargs"] = "+"
    flag = f"--{name.replace('_', '-')}"
    place.add_argument(flag, dest=name, default=argparse.SUPPRESS, **details)


def _shown(default: Any) -> str:
    if isinstance(default, bool) or default is None:
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def parser_of(declared: Option, type_: type) -> Callable[[str], Any]:
    """The function that turns an argument into a value, and checks its bounds."""
    convert: Callable[[str], Any] = _size if type_ is Size else type_

    def parse(text: str) -> Any:
        try:
            value = convert(text)
            right = declared.allows(value)
        except ValueError:
            right = False
        if not right:
            found = text if type_ is int and text.lstrip("-").isdecimal() else repr(text)
            found = found if len(found) <= 60 else found[:57] + "..."
            raise argparse.ArgumentTypeError(f"expected {declared.expected(type_)}, found {found}")
        return value

    return parse


def integer(least: int, most: int = 10**6) -> Callable[[str], int]:
    """A whole number from ``least`` to ``most``, for the options of a verb."""
    return parser_of(Option("", least=least, most=most), int)


def seed() -> Callable[[str], int]:
    """A seed, in the bounds of those of a training."""
    return parser_of(option_of(TrainingSettings, "seed"), int)


def number(**bounds: Any) -> Callable[[str], float]:
    """A finite number within the bounds, for the options of a verb."""
    return parser_of(Option("", **bounds), float)


def _size(text: str) -> int:
    """A number of bytes, such as 500M or 2G."""
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not digits.isdecimal() or (unit and unit not in _UNITS):
        raise ValueError(text)
    return int(digits) * _UNITS.get(unit, 1)
