"""A text that a model continues: its ids, the rules of drawing the next one, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.sampling import Sampling
from minillm.decoding.scores import Score, score
from minillm.decoding.speculation import Speculation


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
    too.  ``ended`` is "stop", "length", or the exception that ended the text.
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
        if not self.ids:
            raise ValueError("Text: ids: expected one or more, found none")
        self.prompt = len(self.ids)
        self.ended: str | Exception | None = None if self.left > 0 else "length"
        self.rng = np.random.default_rng(self.sampling.seed)
        self.speculation = Speculation()
        self.scores: list[Score] = []

    def draw(self, of_model: NDArray) -> int | None:
        """Draw the next id from the model's logits (V,).

        An exception ends this text, and no other that is continued with it: there is no id then.
        """
        try:
            logits = np.array(of_model, np.float64)
            logits[np.asarray(self.banned, np.int64)] = -np.inf
            for adjustment in self.adjustments:
                logits = adjustment.adjust(logits, self.ids[self.prompt :])
            drawn = self.sampling.draw(logits, self.rng, self.ids)
        except Exception as error:
            self.ended = error
            return None
        if self.top is not None:
            self.scores.append(score(of_model, drawn, self.top))
        self.ids.append(drawn)
        self.left -= 1
        self.ended = "stop" if drawn in self.stop else None if self.left > 0 else "length"
        return drawn
