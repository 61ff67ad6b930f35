"""Texts that are continued together: one pass of the model reads a token of each.

A pass reads all weights, whether it is for one text or for many, and reading them takes most of its
time.  So requests that come at the same time share each pass.  A text joins the others when its
prompt has been read, and leaves them when it ends.  Long prompts are read in parts, between the
passes, so no request waits for another's whole prompt.

A text that is alone is written with guesses (:mod:`minillm.decoding.speculation`): a pass reads the
last id of the text and guesses of the ids after it.

Source: Yu et al. (2022), "Orca: a distributed serving system for Transformer-based generative
models", section 3.1, which calls it iteration-level scheduling.
"""

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.cache import Cache, gathered
from minillm.decoding.reader import Reader
from minillm.decoding.scores import Score, score
from minillm.decoding.speculation import is_worthwhile
from minillm.decoding.text import Text

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
    Without ``kept`` caches, prompts are read whole.  Only the caches of causal Transformers can be
    kept or joined: another model continues one text at a time.
    """

    def __init__(self, model: Any, kept: Kept | None = None):
        self.reader: Any = Reader(model)
        self.kept = kept
        self.reading: list[Prompt] = []
        self.writing: list[Text] = []
        self._cache: Any = None  # a row for each text in ``writing``: all of its ids but the last
        self._guess = is_worthwhile(self.reader)

    def __len__(self) -> int:
        return sum(len(prompt.texts) for prompt in self.reading) + len(self.writing)

    def add(self, text: Text) -> None:
        """Let a text join; its prompt is read by the next steps.

        A prompt that is being read for one text is not read again for another, unless that needs
        the scores of all of its ids.
        """
        for prompt in self.reading:
            if prompt.texts[0].ids == text.ids and not (prompt.read and text.scores_prompt):
                prompt.texts.append(text)
                return
        begin = 0, self.reader.zero_state(1)
        if text.scores_prompt:
            text.scores.append(Score(text.ids[0], None, []))
        elif self.kept is not None:
            begin = self.kept.take(np.array(text.ids, np.int32))
        self.reading.append(Prompt([text], *begin))

    @np.errstate(over="ignore", invalid="ignore")  # of a model that has diverged: drawing says it
    def step(self) -> list[Text]:
        """Draw an id of each text that writes, and read a part of a prompt: -> those that grew.

        A text that is alone may get several ids.
        """
        grown = list(self.writing)
        if grown:
            self._write(grown)
        if self.reading:
            grown += self._read()
        return grown

    def _write(self, texts: list[Text]) -> None:
        """Read the last id of each text, and draw the next one."""
        last = np.array([text.ids[-1:] for text in texts])  # (B, 1)
        if self._guess and len(self) == 1:
            [text] = texts
            free = self.reader.config.context - int(self._cache.lengths[0])
            guesses = text.speculation.guess(text.ids, max(0, min(text.left, free) - 1))
            if guesses:
                self._write_guessed(text, guesses)
                return
        logits, self._cache = self.reader.read(last, self._cache)
        for text, of_text in zip(texts, logits, strict=True):
            text.draw(of_text)
            text.speculation.elapse(1)

    def _write_guessed(self, text: Text, guesses: list[int]) -> None:
        """Draw ids as long as they are as guessed, and one more.

        The first id drawn follows the last of the text, the second follows the first guess if that
        was right, and so on.
        """
        ids = np.array([[text.ids[-1], *guesses]])
        logits, cache = self.reader.read_all(ids, self._cache)
        right = 0
        while text.draw(logits[0, right]) in guesses[right : right + 1] and text.ended is None:
            right += 1
        text.speculation.learn(len(guesses), right)
        # The wrong guesses leave the cache.
        self._cache = cache.cut(cache.lengths - (len(guesses) - right), last=True)

    def _read(self) -> list[Text]:
        """Read a part of the first prompt: -> the texts that it begins, if that was the last."""
        texts, n, cache = self.reading.pop(0)
        ids, length = texts[0].ids, texts[0].prompt
        scored = [text for text in texts if text.scores_prompt]
        end = n + PART - (length == n + PART + 1)  # not a single one last
        end = length if self.kept is None and not scored else end
        read = self.reader.read_all if scored else self.reader.read
        logits, cache = read(np.array([ids[n:end]]), cache)
        for text in scored:
            for of_next, token in zip(logits[0], ids[n + 1 : end + 1], strict=False):
                text.scores.append(score(of_next, token, text.top or 0))
        if end < length:
            self.reading.append(Prompt(texts, end, cache))
            return []
        for text in texts:
            if text.ended is None:
                text.draw(logits[0, -1] if scored else logits[0])
            text.speculation.elapse(length)
        if len(self) == 0 and len(texts) == 1:
            self.writing, self._cache = texts, cache
        else:
            self._change([*range(len(self.writing))], [(text, cache, 0) for text in texts])
        return texts

    def remove(self, text: Text) -> None:
        """Let a text leave; its cache is kept, in case the conversation continues."""
        if text in self.writing:
            row = self.writing.index(text)
            if self.kept is not None:
                self.kept.keep(gathered([(self._cache, row)]))
            self._change([other for other in range(len(self.writing)) if other != row], [])
        for prompt in self.reading:
            if text in prompt.texts:
                prompt.texts.remove(text)
                if self.kept is not None and prompt.read and not prompt.texts:
                    self.kept.keep(prompt.cache)
        self.reading = [prompt for prompt in self.reading if prompt.texts]

    def _change(self, rows: list[int], new: list[tuple[Text, Cache, int]]) -> None:
        """Continue with these rows and new texts, each a row of a cache."""
        self.writing = [self.writing[row] for row in rows] + [text for text, _, _ in new]
        caches = [(self._cache, row) for row in rows] + [(cache, row) for _, cache, row in new]
        self._cache = gathered(caches) if caches else None


def write(model: Any, text: Text, kept: Kept | None = None) -> Iterator[int]:
    """Continue one text; its ids are yielded as they are drawn, but for one that ends it.

    >>> text = Text(prompt, 100, Sampling(seed=1), stop=frozenset([eos]))  # doctest: +SKIP
    >>> ids = list(write(model, text))  # doctest: +SKIP

    The cache of a conversation is ``kept``.  An exception that ends the text is raised.
    """
    batch = Batch(model, kept)
    batch.add(text)
    try:
        while text.ended is None:
            begin = len(text.ids)
            batch.step()
            yield from text.ids[begin : -1 if text.ended == "stop" else None]
    finally:
        batch.remove(text)
    if isinstance(text.ended, Exception):
        raise text.ended
