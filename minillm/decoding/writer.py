"""Writing with a language model."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.sampling import next_probabilities, sample
from minillm.layers.types import State
from minillm.ops import _validate

NO_IDS = np.zeros(0, np.int64)


class LanguageModel(Protocol):
    """A model that can write."""

    def zero_state(self, B: int) -> State:
        """The state before B texts begin."""

    def read(self, ids: NDArray[np.integer], state: State) -> tuple[NDArray, State]:
        """ids (B, T) -> the logits (B, V) of the token after the last, and the state after it."""


class Writer:
    """A language model, and its state after everything that it has read and written.

    >>> writer = Writer(model, rng, stop=[end_of_line])  # doctest: +SKIP
    >>> writer.read(prompt)  # many tokens at once  # doctest: +SKIP
    >>> line = list(writer.write(100))  # doctest: +SKIP
    >>> next_line = list(writer.write(100))  # doctest: +SKIP

    ``temperature`` and the rules, such as ``top_k``, are those of
    :func:`~minillm.decoding.sampling.next_probabilities`.  ``banned`` ids, such as the unknown
    word, are never drawn.  A ``stop`` id ends a text.
    """

    def __init__(
        self,
        model: LanguageModel,
        rng: np.random.Generator,
        temperature: float = 1.0,
        *,
        banned: Sequence[int] = (),
        stop: Sequence[int] = (),
        **rules: float | None,
    ):
        self.model, self.rng = model, rng
        self.temperature, self.rules = temperature, rules
        self.banned = _checked("banned", banned)
        self.stop = frozenset(_checked("stop", stop).tolist())
        self._state = model.zero_state(1)
        self._logits: NDArray | None = None  # (V,) after the last id read
        self._drawn: list[int] = []  # the last id drawn, which the model has not read yet

    def read(self, ids: Sequence[int] | NDArray[np.integer]) -> None:
        """Continue the text with ``ids``, all in one pass of the model."""
        text = np.array([*self._drawn, *_checked("ids", ids)], np.int64)
        if len(text):
            logits, self._state = self.model.read(text[None], self._state)
            self._logits, self._drawn = logits[0], []

    def write(self, length: int) -> Iterator[int]:
        """Continue the text with ``length`` ids at most, each yielded when it is drawn.

        A stop id ends the writing; it belongs to the text, but is not yielded.  ``read`` and
        ``write`` then continue after it.
        """
        if self._logits is None and not self._drawn:
            raise ValueError("expected at least one id to have been read before writing")
        for _ in range(length):
            self.read([])  # the id drawn last
            id = self._draw()
            self._drawn = [id]
            if id in self.stop:
                return
            yield id

    def _draw(self) -> int:
        logits = np.array(self._logits, np.float64)
        if len(self.banned):
            logits[self.banned] = -np.inf
        p = next_probabilities(logits, self.temperature, **self.rules)
        return int(sample(p, self.rng))


def _checked(name: str, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Return ids as an array; TypeError or ValueError unless all are whole numbers from 0 up."""
    if len(ids) == 0:
        return NO_IDS
    return _validate.ids("Writer", name, np.asarray(ids), 2**63, (len(ids),))
