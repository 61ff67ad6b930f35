"""Readers and decoders hold a model."""

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
