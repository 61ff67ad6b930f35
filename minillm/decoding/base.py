"""What readers and decoders have in common: they hold a model."""

from typing import Any


class OfModel:
    """A model, and what is done with it."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config


class StateReader(OfModel):
    """A reader whose model makes its first state."""

    def zero_state(self, B: int) -> Any:
        """The state before B texts begin."""
        return self.model.zero_state(B)
