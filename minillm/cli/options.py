"""Options: of a kind's settings, and of several verbs."""

import argparse
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from minillm.cli.arguments import ArgumentParser
from minillm.errors import short
from minillm.option import Option, Size, option_of, types_of
from minillm.runs.settings import GROUPS, TrainingSettings

# --- from settings -----------------------------------------------------------------------


def add_settings(
    parser: ArgumentParser,
    settings: type,
    without: Collection[str] = (),
    common: Collection[str] | None = None,
    groups: Collection[str] = GROUPS,
) -> None:
    """Declare an argument for each other field; the result has only those that were given.

    ``common`` are the options that ``--help`` shows, by default those that are not rare.
    ``groups`` are the titles of groups in the help, in their order.
    """
    places = {name: parser.add_argument_group(name) for name in groups}
    for name in types_of(settings):
        if name in without:
            continue
        declared = option_of(settings, name)
        place = parser if declared.positional else places.get(declared.group, parser)
        action = add_argument(place, settings, name)
        if declared.rare if common is None else name not in common:
            parser.hide(action)


def given_settings(args: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The fields that were given."""
    values = {name: getattr(args, name, None) for name in types_of(settings)}
    return {name: value for name, value in values.items() if value is not None}


def add_argument(place: Any, settings: type, name: str) -> argparse.Action:
    """Declare an argument for a field; without it, the result has no such attribute."""
    declared = option_of(settings, name)
    default = settings.__dataclass_fields__[name].default  # type: ignore[attr-defined]
    type_, several, _ = types_of(settings)[name]
    text, choices = declared.help.replace("%", "%%"), declared.choices
    if len(choices) > 1 and not all(choice in text for choice in choices):
        text += f": {', '.join(choices[:-1])} or {choices[-1]}"
    shown = declared.default_help if declared.default_help is not None else _shown(default)
    if shown and not declared.positional:
        text += f" (default {shown})"
    details: dict[str, Any] = {"help": text}
    if type_ is bool:
        details["action"] = "store_true"
    else:
        details["metavar"] = declared.metavar
        if choices and not declared.positional:
            details["choices"], details["metavar"] = choices, declared.metavar or "NAME"
        else:
            details["type"] = parser_of(declared, type_)
    if declared.positional:
        details["nargs"] = "*" if several else "?"
        return place.add_argument(name, default=argparse.SUPPRESS if several else None, **details)
    if several:
        details["nargs"] = "+"
    flag = f"--{name.replace('_', '-')}"
    return place.add_argument(flag, dest=name, default=argparse.SUPPRESS, **details)


def _shown(default: Any) -> str:
    if isinstance(default, bool) or default is None:
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def parser_of(declared: Option, type_: type) -> Callable[[str], Any]:
    """A function that turns an argument into a value, and checks its bounds."""
    convert: Callable[[str], Any] = _size if type_ is Size else type_

    def parse(text: str) -> Any:
        value: Any = text
        with suppress(ValueError):
            value = convert(text)
        try:
            return declared.checked(value, type_)
        except ValueError:
            found = short(value if isinstance(value, int) else text)
            expected = declared.expected(type_)
            raise argparse.ArgumentTypeError(f"expected {expected}, found {found}") from None

    return parse


def _size(text: str) -> int:
    """A number of bytes, such as 500M or 2G."""
    found = re.fullmatch(r"(\d+)([KMG]?)", text.upper(), re.ASCII)
    if found is None:
        raise ValueError(text)
    return int(found[1]) << 10 * " KMG".index(found[2] or " ")


# --- of several verbs -----------------------------------------------------------------------


def integer(least: int, most: int = 10**6) -> Callable[[str], int]:
    """A whole number from ``least`` to ``most``."""
    return parser_of(Option("", least=least, most=most), int)


def number(**bounds: Any) -> Callable[[str], float]:
    """A finite number within the bounds."""
    return parser_of(Option("", **bounds), float)


def add_option(
    parser: Any,
    declared: str,
    text: str,
    convert: Callable[[str], Any] = str,
    default: Any = None,
    **details: Any,
) -> argparse.Action:
    """Declare an option such as "--length N"; its help is a text and its default."""
    flag, _, metavar = declared.partition(" ")
    shown = "" if default is None else f" (default {_shown(default)})"
    return parser.add_argument(
        flag, metavar=metavar, help=text + shown, type=convert, default=default, **details
    )


def add_flag(parser: Any, flag: str, text: str) -> argparse.Action:
    """Declare an option without a value."""
    return parser.add_argument(flag, action="store_true", help=text)


def add_seed(parser: Any, text: str) -> None:
    """``--seed``, with the bounds of a training's seed."""
    add_option(parser, "--seed N", text, parser_of(option_of(TrainingSettings, "seed"), int))


def add_run(parser: ArgumentParser, text: str = "the folder of a run") -> None:
    """The folder of a run, or the file of another program that is read in its place."""
    parser.add_argument("run_folder", metavar="DIR", help=text)


def add_files(parser: ArgumentParser, text: str, metavar: str = "FILE") -> None:
    """Any number of FILEs, which may also follow options."""
    parser.add_argument("files", nargs="*", default=[], metavar=metavar, help=text)


def add_out(parser: Any, metavar: str = "DIR") -> None:
    """The folder that a verb makes."""
    add_option(parser, f"--out {metavar}", "the folder to make", required=True)
    add_flag(parser, "--overwrite", "replace an earlier result")
