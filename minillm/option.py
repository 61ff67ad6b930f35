"""Options: fields of dataclasses that carry their help and their range.

    @dataclass(frozen=True)
    class Sampling:
        top_k: int | None = option(None, "draw from the K most probable tokens", "K", least=1)

The options of the command line and their help texts follow from such a declaration, and so do the
checks of values from a command line, from Python or from a file.
"""

import math
import sys
import typing
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from operator import ge, gt, le, lt
from types import MappingProxyType, UnionType
from typing import Any, NamedTuple, TypeVar, get_type_hints

from minillm.errors import InputError, check_names, short, wrong_field

LARGEST = 10**9  # of numbers in a file that no option declares

S = TypeVar("S")


@dataclass(frozen=True)
class Option:
    """The description of a field, in addition to its name, type and default.

    least and most are inclusive bounds, above and below are exclusive ones.  positional: an
    argument without a name.  data: the setting says where the data are, and is stored with them.
    changeable: it may differ when a run is resumed.  rare: ``--help`` leaves it out, and
    ``--help-all`` shows it.  of_model: a field of the model's config has the same name, and stores
    it.
    """

    help: str
    metavar: str | None = None
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    group: str = ""  # of the help page
    default_help: str | None = None  # shown instead of the default
    positional: bool = False
    data: bool = False
    changeable: bool = False
    rare: bool = False
    of_model: bool = False

    def expected(self, type_: type) -> str:
        """A description of the values that are allowed."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if type_ is int:
            upper = "up" if self.most is None else f"to {self.most:.0f}"
            return f"a whole number from {self.least:.0f} {upper}"
        if type_ is float:
            bounds = {"at least": self.least, "above": self.above}
            bounds |= {"at most": self.most, "below": self.below}
            limits = [f"{word} {x:g}" for word, x in bounds.items() if x is not None]
            return f"a number {' and '.join(limits)}".strip()
        known: dict[type, str] = {bool: "true or false", str: "a text"}
        return known.get(type_, getattr(type_, "__name__", str(type_)))

    def checked(self, value: Any, type_: type) -> Any:
        """A value of this type; ValueError if it is of another one, or out of bounds."""
        value = value.item() if hasattr(value, "item") else value  # of NumPy
        if type_ is float and type(value) is int and abs(value) <= sys.float_info.max:
            value = float(value)
        right = isinstance(value, type_) and isinstance(value, bool) == (type_ is bool)
        if right and self.choices:
            right = value in self.choices
        elif right and type_ in (int, float):
            bounds = (self.least, ge), (self.above, gt), (self.most, le), (self.below, lt)
            right = -math.inf < value < math.inf and all(
                bound is None or is_within(value, bound) for bound, is_within in bounds
            )
        if not right:
            raise ValueError(f"expected {self.expected(type_)}, found {short(value)}")
        return value


UNDECLARED = Option("", least=-LARGEST, most=LARGEST)


def option(
    default: Any,
    help: str,  # noqa: A002
    metavar: str | None = None,
    **details: Any,
) -> Any:
    """Declare a field."""
    return field(default=default, metadata={"option": Option(help, metavar, **details)})


def with_default(base: type, name: str, default: Any, **changes: Any) -> Any:
    """Declare the setting ``name`` of ``base`` with another default and other changes."""
    inherited = replace(option_of(base, name), **changes)
    return field(default=default, metadata={"option": inherited})


def option_of(settings: type, name: str) -> Option:
    """The option of the field ``name``; a plain default in a subclass keeps the rest of it.

    The fields of a config have none.
    """
    for base in settings.__mro__:
        declared = getattr(base, "__dataclass_fields__", {}).get(name)
        if declared is not None and "option" in declared.metadata:
            return declared.metadata["option"]
    return UNDECLARED


class FieldType(NamedTuple):
    """The type of a field: ``tuple[str, ...]`` is several texts, ``str | None`` is optional."""

    plain: type
    several: bool
    optional: bool


def types_of(settings: type) -> dict[str, FieldType]:
    """The type of each field of a dataclass."""
    return _types_of(settings)  # once: it takes a millisecond


@cache
def _types_of(settings: type) -> dict[str, FieldType]:
    plain_types = {}
    hints = get_type_hints(settings)
    for entry in fields(settings):
        hint, optional, several = hints[entry.name], False, False
        if isinstance(hint, UnionType):
            optional = type(None) in hint.__args__
            hint = next(kind for kind in hint.__args__ if kind is not type(None))
        if typing.get_origin(hint) in (tuple, list):
            several, hint = True, hint.__args__[0]
        plain_types[entry.name] = FieldType(hint, several, optional)
    return plain_types


def make(settings: type[S], values: Mapping[str, object], place: str = "") -> S:
    """A dataclass with these values, after a check, and defaults for the others.

    InputError for an unknown name, a missing value without a default, or a value with the wrong
    type or out of range; its message begins with ``place``.
    """
    return settings(**checked(settings, values, place))


def checked(
    cls: type,
    values: Mapping[str, object],
    place: str = "",
    ranges: Mapping[str, Option] = MappingProxyType({}),
    given: Collection[str] = (),
) -> dict[str, Any]:
    """Check the values of a dataclass's fields like :func:`make`, and return them.

    ``ranges`` are for fields that the class does not declare.  ``given`` are the names of
    fields that come from elsewhere.
    """
    known = types_of(cls)
    check_names(values, known, place)
    result: dict[str, Any] = {}
    for name, value in values.items():
        plain, several, optional = known[name]
        declared = ranges.get(name) or option_of(cls, name)
        try:
            if value is None and optional:
                result[name] = value
            elif several and isinstance(value, list | tuple):
                result[name] = tuple(declared.checked(entry, plain) for entry in value)
            else:
                result[name] = declared.checked(value, plain)
        except ValueError as error:
            raise wrong_field(name, str(error), place) from None
    for entry in fields(cls):
        if entry.name not in (*values, *given) and entry.default is MISSING:
            raise InputError(f"{place}{entry.name!r} is missing")
    return result
