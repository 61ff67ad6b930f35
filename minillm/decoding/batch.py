"""Continuations that are written together: one pass of the model reads a token of each.

    logits, state = reader.read(prompt, reader.zero_state(1))      alone, and without what follows
    while continuation.draw(logits[0]) is not None and continuation.ended is None:
        logits, state = reader.read([continuation.ids[-1:]], state)

A pass reads all weights, whether it is for one continuation or for many, and reading them takes
most of its time.  So requests that come at the same time share each pass.  A continuation joins the
others when its prompt has been read, and leaves them when it ends.  Long prompts are read in parts,
between the passes, so no request waits for another's whole prompt.

A continuation that is alone is written with guesses (:mod:`minillm.decoding.speculation`): a pass
reads its last id and guesses of the ids after it.

Source: Yu et al. (2022), "Orca: a distributed serving system for Transformer-based generative
models", section 3.1, which calls it iteration-level scheduling.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.cache import Cache, gathered
from minillm.decoding.continuation import Continuation, Score, score
from minillm.decoding.reader import Reader
from minillm.decoding.speculation import is_worthwhile

PART = 256  # tokens of a prompt that are read at once
AT_ONCE = 8  # continuations of many that share a pass


class PrefixCache:
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
    """A prompt that is being read, its continuations, and the cache of its first ``read`` ids."""

    continuations: list[Continuation]
    read: int
    cache: Cache


class Batch:
    """Continuations that a model writes.

    ``add`` one, call ``step`` until it has ``ended``, and ``remove`` it then, or earlier.  Without
    a cache of ``prefixes``, prompts are read whole.  Only the caches of causal Transformers can be
    kept or joined: another model writes one continuation at a time.
    """

    def __init__(self, model: Any, prefixes: PrefixCache | None = None):
        self.reader: Any = Reader(model)
        self.prefixes = prefixes
        self.reading: list[Prompt] = []
        self.writing: list[Continuation] = []
        self._cache: Any = None  # a row for each one in ``writing``: all of its ids but the last
        self._guess = is_worthwhile(self.reader)

    def __len__(self) -> int:
        return sum(len(prompt.continuations) for prompt in self.reading) + len(self.writing)

    def add(self, continuation: Continuation) -> None:
        """Let a continuation join; its prompt is read by the next steps.

        A prompt that is being read for one is not read again for another, unless that needs the
        scores of all of its ids.
        """
        if continuation.scores_prompt:
            continuation.scores.append(Score(continuation.ids[0], None, []))
        for prompt in self.reading:
            again = prompt.read and continuation.scores_prompt
            if prompt.continuations[0].ids == continuation.ids and not again:
                prompt.continuations.append(continuation)
                return
        begin = 0, self.reader.zero_state(1)
        if self.prefixes is not None and not continuation.scores_prompt:
            begin = self.prefixes.take(np.array(continuation.ids, np.int32))
        self.reading.append(Prompt([continuation], *begin))

    @np.errstate(over="ignore", invalid="ignore")  # of a model that has diverged: drawing says it
    def step(self) -> list[Continuation]:
        """Draw an id of each in ``writing``, and read a part of a prompt: -> those that grew.

        A continuation that is alone may get several ids.
        """
        grown = list(self.writing)
        if grown:
            self._write(grown)
        if self.reading:
            grown += self._read()
        return grown

    def _write(self, continuations: list[Continuation]) -> None:
        """Read the last id of each continuation, and draw the next one."""
        last = np.array([one.ids[-1:] for one in continuations])  # (B, 1)
        if self._guess and len(self) == 1:
            [one] = continuations
            free = self.reader.config.context - int(self._cache.lengths[0])
            guesses = one.speculation.guess(one.ids, max(0, min(one.left, free) - 1))
            if guesses:
                self._write_guessed(one, guesses)
                return
        logits, self._cache = self.reader.read(last, self._cache)
        for one, of_one in zip(continuations, logits, strict=True):
            one.draw(of_one)
            one.speculation.elapse(1)

    def _write_guessed(self, one: Continuation, guesses: list[int]) -> None:
        """Draw ids as long as they are as guessed, and one more.

        The first id drawn follows the last one, the second follows the first guess if that was
        right, and so on.
        """
        ids = np.array([[one.ids[-1], *guesses]])
        logits, cache = self.reader.read_all(ids, self._cache)
        right = 0
        while one.draw(logits[0, right]) in guesses[right : right + 1] and one.ended is None:
            right += 1
        one.speculation.learn(len(guesses), right)
        # The wrong guesses leave the cache.
        self._cache = cache.cut(cache.lengths - (len(guesses) - right), last=True)

    def _read(self) -> list[Continuation]:
        """Read a part of the first prompt: -> those that begin after it, if that was the last."""
        new, n, cache = self.reading.pop(0)
        ids, length = new[0].ids, new[0].prompt
        scored = [one for one in new if one.scores_prompt]
        end = n + PART - (length == n + PART + 1)  # not a single one last
        end = length if self.prefixes is None and not scored else end
        read = self.reader.read_all if scored else self.reader.read
        logits, cache = read(np.array([ids[n:end]]), cache)
        for one in scored:
            for of_next, token in zip(logits[0], ids[n + 1 : end + 1], strict=False):
                one.scores.append(score(of_next, token, one.top or 0))
        if end < length:
            self.reading.append(Prompt(new, end, cache))
            return []
        for one in new:
            if one.ended is None:
                one.draw(logits[0, -1] if scored else logits[0])
            one.speculation.elapse(length)
        if len(self) == 0 and len(new) == 1:
            self.writing, self._cache = new, cache
        else:
            self._change([*range(len(self.writing))], [(one, cache) for one in new])
        return new

    def remove(self, continuation: Continuation) -> None:
        """Let a continuation leave; its cache is kept, in case the conversation goes on."""
        if continuation in self.writing:
            row = self.writing.index(continuation)
            if self.prefixes is not None:
                self.prefixes.keep(gathered([(self._cache, row)]))
            self._change([other for other in range(len(self.writing)) if other != row], [])
        for prompt in self.reading:
            if continuation in prompt.continuations:
                prompt.continuations.remove(continuation)
                if self.prefixes is not None and prompt.read and not prompt.continuations:
                    self.prefixes.keep(prompt.cache)
        self.reading = [prompt for prompt in self.reading if prompt.continuations]

    def _change(self, rows: list[int], new: list[tuple[Continuation, Cache]]) -> None:
        """Go on with these rows, and with new continuations, each of a cache of one row."""
        self.writing = [self.writing[row] for row in rows] + [one for one, _ in new]
        caches = [(self._cache, row) for row in rows] + [(cache, 0) for _, cache in new]
        self._cache = gathered(caches) if caches else None


def write(
    model: Any, continuation: Continuation, prefixes: PrefixCache | None = None
) -> Iterator[int]:
    """Write a continuation; its ids are yielded as they are drawn, but for one that ends it.

    >>> ids = list(write(model, Continuation(prompt, 100, Sampling(seed=1))))  # doctest: +SKIP

    Its cache is kept with ``prefixes``.  An exception that ends it is raised.
    """
    batch = Batch(model, prefixes)
    batch.add(continuation)
    try:
        while continuation.ended is None:
            begin = len(continuation.ids)
            batch.step()
            yield from continuation.ids[begin : -1 if continuation.ended == "stop" else None]
    finally:
        batch.remove(continuation)
    if isinstance(continuation.ended, Exception):
        raise continuation.ended


def write_all(model: Any, entries: Iterable[Any], prefixes: PrefixCache | None) -> Iterator[Any]:
    """Write continuations, a few at a time; yield each when it has ended, in their order.

    Other entries, such as errors, are yielded in their places.
    """
    batch, entries = Batch(model, prefixes), iter(entries)
    taken: deque[Any] = deque()
    while True:
        while len(batch) < AT_ONCE and (entry := next(entries, None)) is not None:
            taken.append(entry)
            if isinstance(entry, Continuation):
                batch.add(entry)
        if not taken:
            return
        for one in batch.step():
            if one.ended is not None:
                batch.remove(one)
        while taken and not (isinstance(taken[0], Continuation) and taken[0].ended is None):
            yield taken.popleft()
