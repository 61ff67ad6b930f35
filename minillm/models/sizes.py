"""The checks of a model's configuration, and its sizes in words."""

import math
from dataclasses import fields
from typing import Any

from minillm.errors import InputError

MOST_LAYERS = 10_000  # a limit for damaged configurations


def sizes_in_words(config: Any) -> str:
    """The sizes of a model in words, such as "lstm, 2 layers of 256, vocabulary 65"."""
    values = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    shown = [value for value in values.values() if isinstance(value, str)]
    layers = values.pop("layers", None)
    if layers is not None:
        width = values.pop("hidden" if "hidden" in values else "width")
        shown.append(f"{layers} layer{'s' * (layers != 1)} of {width}")
    names = {name: name.replace("_", " ") for name in values}
    shown += [f"{names[name]} {value:,}" for name, value in values.items() if type(value) is int]
    return ", ".join(shown + [names[name] for name, value in values.items() if value is True])


def wrong(config: Any, name: str, expected: str) -> InputError:
    """The error for the value of a field."""
    return InputError(f"expected {expected}, found {getattr(config, name)}", name)


def fill_in(config: Any, **values: Any) -> None:
    """Set each field that is None, or left out, to what follows from the others."""
    for name, value in values.items():
        if getattr(config, name) is None:
            object.__setattr__(config, name, value)


def gated_width(width: int) -> int:
    """The usual width inside a gated feed-forward layer: 8/3 D, rounded up to a multiple of 32."""
    return -(-8 * width // (3 * 32)) * 32


def check_at_least(config: Any, least: int, *names: str) -> None:
    """InputError for a field below ``least``, infinite or NaN, or an absurd number of layers.

    A field may be None where that has a meaning.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not least <= value < math.inf:
            upper = ", but finite" if value == math.inf else ""
            raise wrong(config, name, f"{least} or more{upper}")
        if name == "layers" and value > MOST_LAYERS:
            raise wrong(config, name, f"{MOST_LAYERS:,} or less")


def check_one_of(config: Any, name: str, choices: tuple[str, ...]) -> None:
    """InputError for a field that is not one of ``choices``."""
    value = getattr(config, name)
    if value not in choices:
        raise InputError(f"expected one of {', '.join(choices)}; found {value!r}", name)


def check_below_one(config: Any, *names: str) -> None:
    """InputError for a rate outside of [0, 1)."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise wrong(config, name, "0 or more and below 1")


def check_divides(config: Any, part: str, whole: str) -> None:
    """InputError if a field does not divide another."""
    if getattr(config, whole) % getattr(config, part):
        found = f"{getattr(config, part)} and {getattr(config, whole)}"
        raise InputError(f"expected a divisor of {whole}, found {found}", part)


def check_above_zero(config: Any, *names: str) -> None:
    """InputError for a field that is not a finite number above 0."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise wrong(config, name, "a finite number above 0")
