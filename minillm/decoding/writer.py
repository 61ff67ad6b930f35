"""Writing with a language model."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.sampling import Sampling
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

    >>> writer = Writer(model, Sampling(seed=1), stop=[end_of_line])  # doctest: +SKIP
    >>> writer.read(prompt)  # many tokens at once  # doctest: +SKIP
    >>> line = list(writer.write(100))  # doctest: +SKIP
    >>> next_line = list(writer.write(100))  # doctest: +SKIP

    ``banned`` ids, such as the unknown word, are never drawn.  A ``stop`` id ends a text.
    ``text`` has all ids so far, and ``state`` is the model's after those that it has read; a
    writer may begin with both.
    """

    def __init__(
        self,
        model: LanguageModel,
        sampling: Sampling | None = None,
        *,
        banned: Sequence[int] = (),
        stop: Sequence[int] = (),
        text: Sequence[int] = (),
        state: State | None = None,
    ):
        self.model, self.sampling = model, sampling or Sampling()
        self.rng = np.random.default_rng(self.sampling.seed)
        self.banned = _checked("banned", banned)
        self.stop = frozenset(_checked("stop", stop).tolist())
        self.text = list(text)
        self.state = model.zero_state(1) if state is None else state
        self._logits: NDArray | None = None  # (V,) after the last id read
        self._drawn: list[int] = []  # the last id drawn, which the model has not read yet

    def read(self, ids: Sequence[int] | NDArray[np.integer]) -> None:
        """Continue the text with ``ids``, all in one pass of the model."""
        new = _checked("ids", ids)
        text = np.array([*self._drawn, *new], np.int64)
        if len(text):
            logits, self.state = self.model.read(text[None], self.state)
            self._logits, self._drawn = logits[0], []
            self.text += new.tolist()

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
            self.text.append(id)
            if id in self.stop:
                return
            yield id

    def _draw(self) -> int:
        logits = np.array(self._logits, np.float64)
        if len(self.banned):
            logits[self.banned] = -np.inf
        return self.sampling.draw(logits, self.rng, self.text)


def _checked(name: str, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Return ids as an array; TypeError or ValueError unless all are whole numbers from 0 up."""
    if len(ids) == 0:
        return NO_IDS
    return _validate.ids("Writer", name, np.asarray(ids), 2**63, (len(ids),))
