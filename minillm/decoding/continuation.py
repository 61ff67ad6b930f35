"""A continuation: a prompt, the ids that a model adds to it, their text, and how it ended.

Each new id is drawn from the logits of the next token, after adjustments, and may be scored by its
log-probability:

    log p_i = x_i - log sum_j exp(x_j)

A score is the model's own, from the logits x (V,) as they are, so a text has the same scores
whichever way it was drawn: temperature, top-k and the other rules, penalties, biases, masks and
banned ids act after them.  The tokens of a prompt can be scored while it is read, because a pass
over a prompt predicts each of its tokens.  The choice among given endings, for example, takes
nothing else: the ending with the highest log-probability wins.
"""

import codecs
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.sampling import Adjustment, Sampling, rank
from minillm.decoding.speculation import Speculation
from minillm.ops.softmax import log_softmax
from minillm.text.byte_tokens import ByteTokens


class Score(NamedTuple):
    """A token and its log-probability, None for the first of a text, which follows no other.

    ``top`` has the most probable tokens of its place with their log-probabilities, in order.
    """

    token: int
    log_p: float | None
    top: list[tuple[int, float]]


def score(logits: NDArray, token: int, top: int) -> Score:
    """The score of a token with these logits (V,), and the ``top`` most probable tokens."""
    log_p = log_softmax(np.asarray(logits, np.float64))
    best = rank(log_p, top)[:top].tolist() if top else []
    return Score(token, float(log_p[token]), [(one, float(log_p[one])) for one in best])


class Pieces:
    """A text that grows: each id adds a piece of it.

    >>> pieces = Pieces(tokenizer, stop=["END"])  # doctest: +SKIP
    >>> pieces.add(id)  # doctest: +SKIP

    A piece has whole characters, and nothing that may be the beginning of a stop text.  Hidden
    special tokens have no text, except those in ``shown``.  ``stopped``: a stop text is complete,
    and nothing more will be added.  Where stop texts overlap, the one that is complete first ends
    the text, and of two that end together the longer one, so that the result is the same however
    tokens cut the text.

    ``after`` is the id that precedes the text.  After a special token, some tokenizers put a space
    before a text, which is no part of it.
    """

    def __init__(
        self,
        tokenizer: ByteTokens,
        stop: Sequence[str] = (),
        shown: Collection[str] = (),
        after: int | None = None,
    ):
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        ids = tokenizer.special.ids
        self._hidden = tokenizer.hidden - {ids[text] for text in shown if text in ids}
        self.stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._begins = after is None or after in tokenizer.special.ids.values()

    def add(self, token: int) -> str:
        """The piece that an id completes; it may be empty."""
        text = b"" if token in self._hidden else self.tokenizer.token(token)
        if self._begins and text:
            text, self._begins = self.tokenizer.begun(text), False
        return self._extended(self._decoder.decode(text))

    def end(self) -> str:
        """The piece that was held back, after the last id."""
        text = self._extended(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _extended(self, more: str) -> str:
        """The text that was held back, and more, as far as it is no beginning of a stop text."""
        if self.stopped:
            return ""
        text = self._held + more
        found = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        kept = len(text) - begun(text, self.stop)
        self._held = text[kept:]
        return text[:kept]


def begun(text: str, wholes: Sequence[str]) -> int:
    """The number of characters at the end of a text that begin, but do not complete, a whole."""
    most = len(text) + 1
    sizes = (k for one in wholes for k in range(1, min(len(one), most)) if text.endswith(one[:k]))
    return max(sizes, default=0)


@dataclass(eq=False)
class Continuation:
    """A prompt to continue with at most ``left`` ids; an id in ``stop`` ends it.

    ``banned`` ids, such as the unknown word, are never drawn.  The ``adjustments`` then change the
    logits, one after the other.  Each id drawn gets one of the ``scores``, with the ``top`` most
    probable ids; None: there are no scores.  ``scores_prompt``: the ids of the prompt get scores,
    too.  ``pieces`` decode the ids that are drawn: ``text`` is what they have written, and it also
    ends with a stop text of theirs.  ``ended`` is "stop", "length", or
    the exception that ended the continuation.
    """

    ids: list[int]  # of the prompt, followed by the ids that have been drawn
    left: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: frozenset[int] = frozenset()
    banned: Sequence[int] | NDArray[np.int64] = ()
    adjustments: Sequence[Adjustment] = ()
    top: int | None = None
    scores_prompt: bool = False
    pieces: Pieces | None = None

    def __post_init__(self) -> None:
        if not self.ids:
            raise ValueError("Continuation: ids: expected one or more, found none")
        self.prompt = len(self.ids)
        self.text = ""
        self.ended: str | Exception | None = None if self.left > 0 else "length"
        self.rng = np.random.default_rng(self.sampling.seed)
        self.speculation = Speculation()
        self.scores: list[Score] = []

    @property
    def written(self) -> list[int]:
        """The ids that have been drawn."""
        return self.ids[self.prompt :]

    def draw(self, of_model: NDArray) -> int | None:
        """Draw the next id from the model's logits (V,).

        An exception ends this continuation, and no other that is written with it: there is no id
        then.
        """
        try:
            logits = np.array(of_model, np.float64)
            logits[np.asarray(self.banned, np.int64)] = -np.inf
            for adjust in self.adjustments:
                logits = adjust(logits, self.written)
            drawn = self.sampling.draw(logits, self.rng, self.ids)
        except Exception as error:
            self.ended = error
            return None
        if self.top is not None:
            self.scores.append(score(of_model, drawn, self.top))
        self.add(drawn)
        return drawn

    def add(self, token: int) -> None:
        """Add an id, and the text that it completes; it may end the continuation."""
        self.ids.append(token)
        self.left -= 1
        self.ended = "stop" if token in self.stop else None if self.left > 0 else "length"
        if self.pieces is not None:
            if self.ended != "stop":
                self.text += self.pieces.add(token)
            if self.pieces.stopped:
                self.ended = "stop"
            if self.ended is not None:
                self.text += self.pieces.end()
