"""Texts that are continued together: one pass of the model is a token of each.

A pass reads all weights, whether it is for one text or for many, and reading them takes most of its
time.  So requests that come at the same time share each pass.  A text joins the others when its
prompt has been read, and leaves them when it ends.  Long prompts are read in parts, between the
passes, so that nobody waits for the whole of another's prompt.

A text that is alone is written with guesses (:mod:`minillm.decoding.speculation`).

Source: Yu et al. (2022), "Orca: a distributed serving system for Transformer-based generative
models", section 3.1, which calls it iteration-level scheduling.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.cache import Cache, gathered
from minillm.decoding.chat import Kept
from minillm.decoding.reader import Reader
from minillm.decoding.sampling import Sampling
from minillm.decoding.speculation import Speculation, is_worthwhile

PART = 256  # tokens of a prompt that are read at once


@dataclass(eq=False)
class Text:
    """A text to continue with at most ``length`` ids; an id in ``stop`` ends it."""

    ids: list[int]  # of the prompt, and what has been drawn
    length: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: frozenset[int] = frozenset()
    banned: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.prompt = len(self.ids)
        self.speculation = Speculation()
        self.rng = np.random.default_rng(self.sampling.seed)

    def draw(self, logits: NDArray) -> int:
        """Draw the next id from its logits (V,)."""
        logits = np.array(logits, np.float64)
        logits[list(self.banned)] = -np.inf
        self.ids.append(self.sampling.draw(logits, self.rng, self.ids))
        return self.ids[-1]

    @property
    def left(self) -> int:
        """How many ids may still be drawn."""
        return self.length - (len(self.ids) - self.prompt)

    @property
    def ended(self) -> str | None:
        """Why it has ended: "stop", "length", or None if it has not."""
        if len(self.ids) > self.prompt and self.ids[-1] in self.stop:
            return "stop"
        return None if self.left > 0 else "length"


class Batch:
    """Texts that a model continues.

    ``add`` a text, call ``step`` until it has ``ended``, and ``remove`` it then, or earlier.
    """

    def __init__(self, model: Any, kept: Kept):
        self.reader: Any = Reader(model)
        self.kept = kept
        self.reading: list[tuple[Text, int, Cache]] = []  # how many ids are in the cache
        self.writing: list[Text] = []
        self._cache: Any = None  # of those that write; all but the last id of each are in it
        self._guesses = is_worthwhile(self.reader)

    def add(self, text: Text) -> None:
        """Let a text join; its prompt is read by the next steps."""
        n, state = self.kept.take(np.array(text.ids, np.int32))
        self.reading.append((text, n, state))

    def step(self) -> list[Text]:
        """Draw an id of each text that writes, and read a part of a prompt: -> those that grew.

        A text that is alone may get several ids.
        """
        grown = list(self.writing)
        if self._guesses and len(self.writing) == 1 and not self.reading:
            self._write_alone(*self.writing)
        elif self.writing:
            last = np.array([text.ids[-1] for text in self.writing])
            logits, self._cache = self.reader.read(last[:, None], self._cache)
            for text, of_text in zip(self.writing, logits, strict=True):
                text.draw(of_text)
                text.speculation.elapse(1)
        if self.reading:
            text, n, state = self.reading.pop(0)
            end = n + PART if text.prompt != n + PART + 1 else n + PART - 1  # not a single one last
            part = np.array(text.ids[n:end])
            logits, state = self.reader.read(part[None], state)
            if n + len(part) < text.prompt:
                self.reading.append((text, n + len(part), state))
            else:
                text.draw(logits[0])
                text.speculation.elapse(text.prompt)
                grown.append(text)
                self._change([*range(len(self.writing))], [(text, state)])
        return grown

    def _write_alone(self, text: Text) -> None:
        """Draw ids as long as they are as guessed, and one more."""
        guesses = text.speculation.guess(text.ids, text.left - 1)
        ids = np.array([[text.ids[-1], *guesses]])
        logits, self._cache = self.reader.read_all(ids, self._cache)
        right = 0
        while text.draw(logits[0, right]) in guesses[right : right + 1] and text.ended is None:
            right += 1
        if guesses:
            text.speculation.learn(len(guesses), right)
            lengths = self._cache.lengths - (len(guesses) - right)
            self._cache = self._cache.cut(lengths, last=True)
        else:
            text.speculation.elapse(1)

    def remove(self, text: Text) -> None:
        """Let a text leave; its cache is kept, in case that the conversation goes on."""
        if text in self.writing:
            row = self.writing.index(text)
            self.kept.keep(gathered([(self._cache, row)]))
            self._change([other for other in range(len(self.writing)) if other != row], [])
        self.reading = [entry for entry in self.reading if entry[0] is not text]

    def _change(self, rows: list[int], new: list[tuple[Text, Cache]]) -> None:
        """Continue with these rows and new texts."""
        self.writing = [self.writing[row] for row in rows] + [text for text, _ in new]
        kept = [(self._cache, row) for row in rows] + [(state, 0) for _, state in new]
        self._cache = gathered(kept) if kept else None
