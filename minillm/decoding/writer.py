"""Writing with a language model: a text, the passes of the model over it, and a writer.

A pass reads the last id of a text, and may read guesses of the ids after it
(:mod:`minillm.decoding.speculation`).  Its logits give the next id, and one more for each right
guess.  A writer continues one text in this way, :mod:`minillm.decoding.batch` several.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.decoding.reader import Reader
from minillm.decoding.sampling import Sampling
from minillm.decoding.scores import Score, score
from minillm.decoding.speculation import Speculation, is_worthwhile

NO_IDS = np.zeros(0, np.int64)


class Adjustment(Protocol):
    """A change of the logits before a token is drawn, such as a penalty or a mask.

    ``written`` are all ids that have been drawn so far.  An object with a state, such as how far a
    grammar has read them, belongs to one text.
    """

    def adjust(self, logits: NDArray[np.float64], written: Sequence[int]) -> NDArray[np.float64]:
        """The logits (V,) of the next id after the change: a new array."""
        ...


@dataclass(eq=False)
class Text:
    """A text to continue with at most ``left`` ids; an id in ``stop`` ends it.

    ``banned`` ids, such as the unknown word, are never drawn.  The ``adjustments`` then change the
    logits, one after the other.  Each id drawn gets one of the ``scores``, with the ``top`` most
    probable ids; None: there are no scores.  ``scores_prompt``: the ids of the prompt get scores,
    too, if the text is read by a :class:`minillm.decoding.batch.Batch`.
    """

    ids: list[int]  # of the prompt, followed by the ids that have been drawn
    left: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: frozenset[int] = frozenset()
    banned: Sequence[int] | NDArray[np.int64] = ()
    adjustments: Sequence[Adjustment] = ()
    top: int | None = None
    scores_prompt: bool = False

    def __post_init__(self) -> None:
        self.prompt = len(self.ids)
        self.ended = None if self.left > 0 else "length"  # or "stop"
        self.rng = np.random.default_rng(self.sampling.seed)
        self.speculation = Speculation()
        self.scores: list[Score] = []

    def draw(self, of_model: NDArray) -> int:
        """Draw the next id from the model's logits (V,)."""
        logits = np.array(of_model, np.float64)
        logits[np.asarray(self.banned, np.int64)] = -np.inf
        for adjustment in self.adjustments:
            logits = adjustment.adjust(logits, self.ids[self.prompt :])
        drawn = self.sampling.draw(logits, self.rng, self.ids)
        if self.top is not None:
            self.scores.append(score(of_model, drawn, self.top))
        self.ids.append(drawn)
        self.left -= 1
        self.ended = "stop" if drawn in self.stop else None if self.left > 0 else "length"
        return drawn


class Pass:
    """A pass of a model over the next ids of a text, and over guesses of the ids after them.

    The first id drawn follows the ids, the second follows the first guess if that was right, and so
    on: of the ids drawn, all but the last were guessed right.

    ``guesses``  that have been read
    ``logits``   (1 + guesses, V) after the ids, and after each guess
    ``drawn``    the number of ids drawn from these logits
    """

    def __init__(
        self, reader: Any, text: Text, ids: Sequence[int], state: Any, *, guess: bool = False
    ):
        self.text, self.drawn = text, 0
        self.guesses: Sequence[int] = ()
        if guess:
            free = reader.config.context - int(state.lengths[0])
            most = max(0, min(text.left, free) - 1)
            self.guesses = text.speculation.guess(text.ids, most)
        if self.guesses:
            logits, self._state = reader.read_all(np.array([[*ids, *self.guesses]]), state)
            self.logits: NDArray = logits[0, len(ids) - 1 :]
        else:
            self.logits, self._state = reader.read(np.array([ids]), state)
            text.speculation.elapse(len(ids))

    @property
    def has_next(self) -> bool:
        """Whether the logits of the next id are here."""
        return self.drawn == 0 or self.text.ids[-1] in self.guesses[self.drawn - 1 : self.drawn]

    def draw(self) -> int:
        """Draw the next id of the text."""
        token = self.text.draw(self.logits[self.drawn])
        self.drawn += 1
        return token

    def end(self) -> Any:
        """The state of the model after the ids and the right guesses; the others are dropped."""
        if self.guesses:
            right = max(0, self.drawn - 1)
            self.text.speculation.learn(len(self.guesses), right)
            lengths = self._state.lengths - (len(self.guesses) - right)
            self._state, self.guesses = self._state.cut(lengths, last=True), ()
        return self._state


class Writer:
    """A language model or its reader, and its state after everything that it has read and written.

    >>> writer = Writer(model, Sampling(seed=1), stop=[end_of_line])  # doctest: +SKIP
    >>> writer.read(prompt)  # many tokens at once  # doctest: +SKIP
    >>> line = list(writer.write(100))  # doctest: +SKIP
    >>> next_line = list(writer.write(100))  # doctest: +SKIP

    ``text.ids`` are all ids so far.
    """

    def __init__(
        self,
        model: Any,
        sampling: Sampling | None = None,
        *,
        banned: Sequence[int] = (),
        stop: Sequence[int] = (),
    ):
        self.reader: Any = Reader(model)
        ends = frozenset(_checked("stop", stop).tolist())
        self.text = Text([], 0, sampling or Sampling(), ends, _checked("banned", banned))
        self._pass: Pass | None = None  # the last one
        self._guess = is_worthwhile(self.reader)

    @property
    def state(self) -> Any:
        """The state of the model after all ids but one that was drawn last."""
        return self.reader.zero_state(1) if self._pass is None else self._pass.end()

    def read(self, ids: Sequence[int] | NDArray[np.integer]) -> None:
        """Continue the text with ``ids``, all in one pass of the model."""
        new = _checked("ids", ids).tolist()
        unread = self.text.ids[-1:] if self._pass and self._pass.drawn else []
        if unread or new:
            self._pass = Pass(self.reader, self.text, [*unread, *new], self.state)
            self.text.ids += new

    def write(self, length: int) -> Iterator[int]:
        """Continue the text with ``length`` ids at most, each yielded when it is drawn.

        A stop id ends the writing; it belongs to the text, but is not yielded.  ``read`` and
        ``write`` then continue after it.
        """
        if self._pass is None:
            raise ValueError(
                "expected at least one id to have been read before writing, found none"
            )
        text = self.text
        text.left = length
        while text.left > 0:
            if not self._pass.has_next:
                last = text.ids[-1:]
                self._pass = Pass(self.reader, text, last, self.state, guess=self._guess)
            token = self._pass.draw()
            if text.ended == "stop":
                return
            yield token


def _checked(name: str, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Ids as an array; TypeError or ValueError unless all are whole numbers from 0 up."""
    if len(ids) == 0:
        return NO_IDS
    return checks.ids("Writer", name, np.asarray(ids), 2**63, (len(ids),))
