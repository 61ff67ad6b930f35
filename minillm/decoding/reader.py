"""Readers: what reads on, from a state, with a language model.

    reader = Reader(model)
    state = reader.zero_state(B)
    logits, state = reader.read(ids, state)     ids (B, T) -> (B, V), after the last id of each row

A text may be cut anywhere: reading continues from the state, and a single pass gives the same
logits.  ``Reader(model)`` is the reader of the model's class.  A subclass names that class:

    class RecurrentReader(Reader, reads=LanguageModel): ...

A model that counts, such as an n-gram model, reads by itself.
"""

from typing import Any, ClassVar

from numpy.typing import NDArray

from minillm.layers.types import Ids


class Reader:
    """The reader of a model: see the module."""

    _readers: ClassVar[dict[type, type["Reader"]]] = {}

    def __init_subclass__(cls, reads: type | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if reads is not None:
            Reader._readers[reads] = cls

    def __new__(cls, model: Any) -> Any:
        """The reader of a model's class; a model that can read is its own."""
        for known in type(model).__mro__:
            if known in Reader._readers:
                return super().__new__(Reader._readers[known])
        if hasattr(model, "zero_state") and hasattr(model, "read"):
            return model
        raise TypeError(f"Reader: expected a language model, found {type(model).__name__}")

    def __init__(self, model: Any) -> None:
        if model is not self:  # Python calls this for what __new__ has returned
            self.model = model

    def __getnewargs__(self) -> tuple[Any]:
        return (self.model,)  # copying and unpickling pass it to __new__

    @property
    def config(self) -> Any:
        """The configuration of the model."""
        return self.model.config

    def zero_state(self, B: int) -> Any:
        """The state before B texts begin."""
        return self.model.zero_state(B)

    def read(self, ids: Ids, state: Any) -> tuple[NDArray, Any]:
        """The logits of the token after the last id, and the state after it.

        ids (B, T) -> logits (B, V), state.  The state given is not changed, and several threads may
        go on from it.
        """
        raise NotImplementedError
