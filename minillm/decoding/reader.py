"""Readers: a reader continues a text from a state, with a language model.

    reader = Reader(model)
    state = reader.zero_state(B)
    logits, state = reader.read(ids, state)     ids (B, T) -> (B, V), after the last id of each row

A text may be cut anywhere: reading continues from the state, and a single pass gives the same
logits.  The state given is not changed, and several threads may go on from it.  The page of each
reader registers it for the class of its models.
"""

from functools import singledispatch
from typing import Any


@singledispatch
def Reader(model: Any) -> Any:
    """The reader of a model; a model that reads by itself, such as an n-gram model, is its own."""
    if not hasattr(model, "read"):
        raise TypeError(f"Reader: expected a language model, found {type(model).__name__}")
    return model


class OfModel:
    """A model, and what is done with it."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config


class StateReader(OfModel):
    """A reader whose model makes its first state."""

    def zero_state(self, B: int) -> Any:
        """The state before B texts begin."""
        return self.model.zero_state(B)
