"""The checks of a model's configuration, and its sizes in words."""

import math
from dataclasses import fields
from typing import Any

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


def check_at_least(config: Any, least: int, *names: str) -> None:
    """ValueError for a field below ``least``, infinite or NaN, or an absurd number of layers."""
    for name in names:
        value = getattr(config, name)
        if not least <= value < math.inf:
            upper = ", but finite" if value == math.inf else ""
            raise ValueError(f"{name}: expected {least} or more{upper}, found {value}")
        if name == "layers" and value > MOST_LAYERS:
            raise ValueError(f"{name}: expected {MOST_LAYERS:,} or less, found {value}")


def check_one_of(config: Any, name: str, choices: tuple[str, ...]) -> None:
    """ValueError for a field that is not one of ``choices``."""
    value = getattr(config, name)
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}; found {value!r}")


def check_below_one(config: Any, *names: str) -> None:
    """ValueError for a rate outside of [0, 1)."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(
                f"{name}: expected 0 or more and below 1, found {getattr(config, name)}"
            )


def check_divides(config: Any, part: str, whole: str) -> None:
    """ValueError if a field does not divide another."""
    if getattr(config, whole) % getattr(config, part):
        raise ValueError(
            f"{part}: expected a divisor of {whole}, found {getattr(config, part)} and "
            f"{getattr(config, whole)}"
        )


def check_above_zero(config: Any, *names: str) -> None:
    """ValueError for a field that is not a finite number above 0."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(
                f"{name}: expected a finite number above 0, found {getattr(config, name)}"
            )
