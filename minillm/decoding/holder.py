"""Readers and decoders hold a model, and are found by its class."""

from collections.abc import Mapping
from typing import Any


class Holder:
    """A model, and what is done with it."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config


class StateReader(Holder):
    """A reader whose model makes its first state."""

    def zero_state(self, B: int) -> Any:
        """The state before B texts begin."""
        return self.model.zero_state(B)


def holder(known: Mapping[type, type[Holder]], model: Any, *methods: str) -> Any:
    """The holder that is known for the model's class, or for the one that it inherits from.

    A model that has the methods itself is returned as it is.  None: there is no holder.
    """
    for of_model in type(model).__mro__:
        if of_model in known:
            return known[of_model](model)
    return model if all(hasattr(model, name) for name in methods) else None
