"""Readers: a reader continues a text from a state, with a language model.

    reader = Reader(model)
    state = reader.zero_state(B)
    logits, state = reader.read(ids, state)     ids (B, T) -> (B, V), after the last id of each row

A text may be cut anywhere: reading continues from the state, and a single pass gives the same
logits.  :mod:`minillm.decoding.holder` finds the reader of a model's class.
"""

from typing import Any

from numpy.typing import NDArray

from minillm.decoding.holder import Holder
from minillm.layers.types import Ids


class Reader(Holder, expected="a language model", methods=("zero_state", "read")):
    """The reader of a model: see the module."""

    def zero_state(self, B: int) -> Any:
        """The state before B texts begin."""
        return self.model.zero_state(B)

    def read(self, ids: Ids, state: Any) -> tuple[NDArray, Any]:
        """The logits of the token after the last id, and the state after it.

        ids (B, T) -> logits (B, V), state.  The state given is not changed, and several threads may
        go on from it.
        """
        raise NotImplementedError
