"""Arguments with ranges, checked when they are parsed, and errors of one line."""

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, but examples keep their lines and an error is one line."""

    def __init__(self, *args: Any, **options: Any):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(*args, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but FILEs may also stand behind an option: ``eval DIR --json FILE``."""
        namespace, extras = super().parse_known_args(args, namespace)
        if isinstance(getattr(namespace, "files", None), list):
            files = [word for word in extras if word == "-" or not word.startswith("-")]
            namespace.files = namespace.files + files
            extras = [word for word in extras if word not in files]
        return namespace, extras

    def error(self, message: str) -> NoReturn:
        """Exit status 2 and one line that also says where help is."""
        self.exit(2, f"minillm: {message} (see {self.prog} --help)\n")


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number from ``least`` to ``most``."""
    wanted = f"a whole number from {least} to {most}" if most else f"a whole number from {least} up"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {wanted}, found {text!r}") from None
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"expected {wanted}, found {text}")
        return value

    return parse


def number(
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> Callable[[str], float]:
    """A finite number within the bounds: ``least`` and ``most`` are allowed themselves."""
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    wanted = " and ".join(f"{word} {x:g}" for word, x in bounds.items() if math.isfinite(x))

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most and above < value < below):
            raise argparse.ArgumentTypeError(f"expected a number {wanted}, found {text!r}")
        return value

    return parse


def size(text: str) -> int:
    """A number of bytes, such as 500M or 2G."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not digits.isdecimal() or int(digits) < 1 or (unit and unit not in units):
        raise argparse.ArgumentTypeError(f"expected a size such as 500M or 2G, found {text!r}")
    return int(digits) * units.get(unit, 1)
