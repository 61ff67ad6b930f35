"""Texts that are continued together: one pass of the model reads a token of each.

A pass reads all weights, whether it is for one text or for many, and reading them takes most of its
time.  So requests that come at the same time share each pass.  A text joins the others when its
prompt has been read, and leaves them when it ends.  Long prompts are read in parts, between the
passes, so no request waits for another's whole prompt.

A text that is alone is written with guesses, as by a :class:`~minillm.decoding.writer.Writer`.

Source: Yu et al. (2022), "Orca: a distributed serving system for Transformer-based generative
models", section 3.1, which calls it iteration-level scheduling.
"""

import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.cache import Cache, gathered
from minillm.decoding.prompt_scores import PromptScores
from minillm.decoding.reader import Reader
from minillm.decoding.speculation import is_worthwhile
from minillm.decoding.writer import Pass, Text

PART = 256  # tokens of a prompt that are read at once


class Kept:
    """The caches of the last ``most`` conversations, by any number of threads."""

    def __init__(self, model: Any, most: int = 1):
        self.reader: Any = Reader(model)
        self.most = most
        self._states: list[Cache] = []  # the last one used comes last
        self._lock = threading.Lock()

    def take(self, ids: NDArray[np.integer]) -> tuple[int, Cache]:
        """The cache to continue to ids (T,): the number of them that are in it, and the cache.

        A conversation that is continued is kept no longer.  One that only begins in the same way,
        with the same system prompt for example, is kept.
        """
        with self._lock:
            found = [(self.reader.cut(ids, state)[0], at) for at, state in enumerate(self._states)]
            n, at = max(found, default=(0, 0))
            if n == 0:
                return 0, self.reader.zero_state(1)
            state = self._states[at]
            continues = 2 * n >= int(state.lengths[0])
            if continues:
                del self._states[at]
        return self.reader.cut(ids, state, last=continues)

    def keep(self, state: Cache) -> None:
        """Keep the cache of a conversation that may go on."""
        with self._lock:
            self._states = [*self._states, state][-self.most :]


class Prompt(NamedTuple):
    """Texts with one prompt, which is being read, and the cache of its first ``read`` ids."""

    texts: list[Text]
    read: int
    cache: Cache


class Batch:
    """Texts that a model continues.

    ``add`` a text, call ``step`` until it has ``ended``, and ``remove`` it then, or earlier.
    """

    def __init__(self, model: Any, kept: Kept):
        self.reader: Any = Reader(model)
        self.kept = kept
        self.reading: list[Prompt] = []
        self.unscored: list[Text] = []  # those whose prompts will be scored next
        self.scoring: PromptScores | None = None
        self.writing: list[Text] = []
        self._cache: Any = None  # a row for each text in ``writing``: all of its ids but the last
        self._guess = is_worthwhile(self.reader)

    def __len__(self) -> int:
        scoring = len([text for text in self.scoring.texts if text]) if self.scoring else 0
        reading = sum(len(prompt.texts) for prompt in self.reading)
        return reading + len(self.unscored) + scoring + len(self.writing)

    def add(self, text: Text) -> None:
        """Let a text join; its prompt is read by the next steps.

        A prompt that is being read for one text is not read again for another.
        """
        if text.scores_prompt:
            self.unscored.append(text)
            return
        for prompt in self.reading:
            if prompt.texts[0].ids == text.ids:
                prompt.texts.append(text)
                return
        self.reading.append(Prompt([text], *self.kept.take(np.array(text.ids, np.int32))))

    def step(self) -> list[Text]:
        """Draw an id of each text that writes, and read a part of a prompt: -> those that grew.

        A text that is alone may get several ids.
        """
        grown = list(self.writing)
        if len(grown) == 1 and self._guess and len(self) == 1:
            self._write_alone(*grown)
        elif grown:
            last = np.array([text.ids[-1:] for text in grown])  # (B, 1)
            logits, self._cache = self.reader.read(last, self._cache)
            for text, of_text in zip(grown, logits, strict=True):
                text.draw(of_text)
                text.speculation.elapse(1)
        if self.reading:
            grown += self._read()
        if self.unscored or self.scoring:
            grown += self._score()
        return grown

    def _read(self) -> list[Text]:
        """Read a part of the first prompt: -> the texts that it begins, if that was the last."""
        texts, n, cache = self.reading.pop(0)
        length = texts[0].prompt
        end = n + PART if length != n + PART + 1 else n + PART - 1  # not a single one last
        logits, cache = self.reader.read(np.array([texts[0].ids[n:end]]), cache)
        if end < length:
            self.reading.append(Prompt(texts, end, cache))
            return []
        for text in texts:
            text.draw(logits[0])
            text.speculation.elapse(length)
        self._change([*range(len(self.writing))], [(text, cache, 0) for text in texts])
        return texts

    def _score(self) -> list[Text]:
        """Read a part of the prompts that are scored together: -> the texts whose prompts end."""
        if self.scoring is None:
            self.scoring, self.unscored = PromptScores(self.reader, self.unscored), []
        begun, go_on = [], []
        for text, logits, row in self.scoring.step():
            if text.ended is None:
                text.draw(logits)
                text.speculation.elapse(text.prompt)
            if text.ended is None:
                go_on.append((text, *self.scoring.cache_of(row)))
            begun.append(text)
            self.scoring.remove(text)
        if go_on:
            self._change([*range(len(self.writing))], go_on)
        if self.scoring.are_read:
            self.scoring = None
        return begun

    def _write_alone(self, text: Text) -> None:
        """Draw ids as long as they are as guessed, and one more."""
        one = Pass(self.reader, text, text.ids[-1:], self._cache, guess=True)
        while one.has_next and text.ended is None:
            one.draw()
        self._cache = one.end()

    def remove(self, text: Text) -> None:
        """Let a text leave; its cache is kept, in case the conversation continues."""
        if text in self.writing:
            row = self.writing.index(text)
            self.kept.keep(gathered([(self._cache, row)]))
            self._change([other for other in range(len(self.writing)) if other != row], [])
        for prompt in self.reading:
            if text in prompt.texts:
                prompt.texts.remove(text)
                if prompt.read and not prompt.texts:
                    self.kept.keep(prompt.cache)
        self.reading = [prompt for prompt in self.reading if prompt.texts]
        if text in self.unscored:
            self.unscored.remove(text)
        if self.scoring is not None:
            self.scoring.remove(text)
            if self.scoring.are_read:
                self.scoring = None

    def _change(self, rows: list[int], new: list[tuple[Text, Cache, int]]) -> None:
        """Continue with these rows and new texts, each a row of a cache."""
        self.writing = [self.writing[row] for row in rows] + [text for text, _, _ in new]
        caches = [(self._cache, row) for row in rows] + [(cache, row) for _, cache, row in new]
        self._cache = gathered(caches) if caches else None
