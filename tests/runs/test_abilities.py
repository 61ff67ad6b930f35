"""The abilities of the runs of a kind."""

import inspect

import pytest

from minillm.runs import abilities
from minillm.runs.kind import kinds

PROTOCOLS = [
    value
    for value in vars(abilities).values()
    if inspect.isclass(value) and value.__module__ == abilities.__name__
]


def method_of(ability):
    """The name of the one method of a protocol."""
    (name,) = (
        name for name in vars(ability) if inspect.isfunction(vars(ability)[name]) and name[0] != "_"
    )
    return name


@pytest.mark.parametrize("ability", PROTOCOLS)
def test_the_methods_of_all_kinds_take_what_an_ability_declares(ability):
    name = method_of(ability)
    _, *declared = inspect.signature(getattr(ability, name)).parameters.values()
    given = [parameter for parameter in declared if parameter.kind != parameter.VAR_KEYWORD]
    able = [kind for kind in kinds().values() if isinstance(kind, ability)]
    assert able
    for kind in able:
        inspect.signature(getattr(kind, name)).bind(*given)


def test_a_kind_without_the_method_lacks_the_ability():
    able = {name for name, kind in kinds().items() if isinstance(kind, abilities.Fills)}
    assert able == {"bert", "encoder"}
