"""Writing with a language model."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.decoding.reader import Reader
from minillm.decoding.sampling import Sampling
from minillm.decoding.speculation import Speculation, is_worthwhile

NO_IDS = np.zeros(0, np.int64)


class Writer:
    """A language model or its reader, and its state after everything that it has read and written.

    >>> writer = Writer(model, Sampling(seed=1), stop=[end_of_line])  # doctest: +SKIP
    >>> writer.read(prompt)  # many tokens at once  # doctest: +SKIP
    >>> line = list(writer.write(100))  # doctest: +SKIP
    >>> next_line = list(writer.write(100))  # doctest: +SKIP

    ``banned`` ids, such as the unknown word, are never drawn.  A ``stop`` id ends a text.
    A large model checks several guesses in one pass: see :mod:`minillm.decoding.speculation`.
    ``text`` has all ids so far, and ``state`` is the model's after those that it has read; a
    writer may begin with both.
    """

    def __init__(
        self,
        model: Any,
        sampling: Sampling | None = None,
        *,
        banned: Sequence[int] = (),
        stop: Sequence[int] = (),
        text: Sequence[int] = (),
        state: Any = None,
    ):
        self.reader: Any = Reader(model)
        self.sampling = sampling or Sampling()
        self.rng = np.random.default_rng(self.sampling.seed)
        self.banned = _checked("banned", banned)
        self.stop = frozenset(_checked("stop", stop).tolist())
        self.text = list(text)
        self.state = self.reader.zero_state(1) if state is None else state
        self._drawn: list[int] = []  # the last id drawn, which the model has not read yet
        self._guesses: list[int] = []  # ids after the text, which the model has read
        self._guessed = 0  # the number of guesses of which these are left
        self._logits: list[NDArray] = []  # (V,) after the last id read, and after each guess
        self._speculation = Speculation() if is_worthwhile(self.reader) else None

    def read(self, ids: Sequence[int] | NDArray[np.integer]) -> None:
        """Continue the text with ``ids``, all in one pass of the model."""
        self._drop_guesses()
        new = _checked("ids", ids)
        text = np.array([*self._drawn, *new], np.int64)
        if len(text):
            logits, self.state = self.reader.read(text[None], self.state)
            self._logits, self._drawn = [logits[0]], []
            self.text += new.tolist()
            if self._speculation is not None:
                self._speculation.elapse(len(text))

    def write(self, length: int) -> Iterator[int]:
        """Continue the text with ``length`` ids at most, each yielded when it is drawn.

        A stop id ends the writing; it belongs to the text, but is not yielded.  ``read`` and
        ``write`` then continue after it.
        """
        if not self._logits and not self._drawn:
            raise ValueError(
                "expected at least one id to have been read before writing, found none"
            )
        try:
            for left in range(length, 0, -1):
                self._read_drawn(left)
                id = self._draw()
                self._drawn = [id]
                self.text.append(id)
                if id in self.stop:
                    return
                yield id
        finally:
            self._drop_guesses()

    def _read_drawn(self, left: int) -> None:
        """Have the logits after the id drawn last in front; ``left`` ids will be drawn at most."""
        if self._guesses and self._guesses[0] == self._drawn[0]:
            self._drawn = []
            del self._guesses[0], self._logits[0]
            return
        self._drop_guesses()
        guesses: list[int] = []
        if self._speculation is not None and self._drawn:
            free = self.reader.config.context - int(self.state.lengths[0])
            guesses = self._speculation.guess(self.text, max(0, min(left, free) - 1))
        if guesses:
            ids = np.array([[*self._drawn, *guesses]])
            logits, self.state = self.reader.read_all(ids, self.state)
            self._logits, self._drawn = list(logits[0]), []
            self._guesses, self._guessed = guesses, len(guesses)
        else:
            self.read([])

    def _drop_guesses(self) -> None:
        """Cut the state back to the text."""
        if self._speculation is not None and self._guessed:
            self._speculation.learn(self._guessed, self._guessed - len(self._guesses))
            lengths = self.state.lengths - len(self._guesses)
            self.state = self.state.cut(lengths, last=True)
            del self._logits[1:]
            self._guesses, self._guessed = [], 0

    def _draw(self) -> int:
        logits = np.array(self._logits[0], np.float64)
        if len(self.banned):
            logits[self.banned] = -np.inf
        return self.sampling.draw(logits, self.rng, self.text)


def _checked(name: str, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Ids as an array; TypeError or ValueError unless all are whole numbers from 0 up."""
    if len(ids) == 0:
        return NO_IDS
    return checks.ids("Writer", name, np.asarray(ids), 2**63, (len(ids),))
