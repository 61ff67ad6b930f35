"""The engine: one thread that writes the continuations of all requests together."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from minillm.decoding.batch import Batch, PrefixCache
from minillm.decoding.chat import Chat
from minillm.decoding.continuation import Continuation, Score
from minillm.serving.requests import RequestError
from minillm.serving.tools import Answer


class Event(NamedTuple):
    """A piece of one of the choices of an answer, the scores of its new tokens, and how it ended.

    The reason is "stop", "length" or "tool_calls".  ``written`` is the number of tokens that this
    choice has so far.  ``calls`` are the functions that an answer calls; its last event has them.
    """

    choice: int
    piece: str
    scores: list[Score]
    reason: str | None
    written: int
    calls: Sequence[dict[str, Any]] = ()


class Job:
    """A continuation that the engine writes, one of the choices of an answer.

    ``deliver`` is called, in the engine's thread, with an event whenever it has grown, and with an
    exception that ends it.  The first piece begins with the ``echo``.  An ``answer`` finds the
    calls in the text.
    """

    def __init__(
        self,
        continuation: Continuation,
        deliver: Callable[[Event | Exception], None],
        choice: int = 0,
        echo: str = "",
        answer: Answer | None = None,
    ):
        self.continuation, self.deliver, self.choice = continuation, deliver, choice
        self._echo, self._answer = echo, answer
        self._characters, self._scores = 0, 0  # that have been delivered

    def grow(self) -> bool:
        """Deliver what new ids have added; whether the continuation has ended."""
        one = self.continuation
        if isinstance(one.ended, Exception):
            self.deliver(one.ended)
            return True
        piece, scores = self._echo + one.text[self._characters :], one.scores[self._scores :]
        self._echo, self._characters, self._scores = "", len(one.text), len(one.scores)
        reason, calls = one.ended, []
        if self._answer is not None:
            piece = self._answer.add(piece) + (self._answer.end() if reason else "")
            calls = self._answer.calls
            reason = "tool_calls" if calls and reason == "stop" else reason
        if piece or scores or reason:
            self.deliver(Event(self.choice, piece, scores, reason, len(one.written), calls))
        return reason is not None


class Engine:
    """Requests that share the weights of one model.

    At most ``parallel`` continuations are written at a time, and at most ``waiting`` requests wait.
    """

    def __init__(self, chat: Chat, parallel: int, waiting: int):
        self.chat, self.parallel, self.waiting = chat, parallel, waiting
        self._prefixes = PrefixCache(chat.reader, parallel)
        self._batch = Batch(chat.reader, self._prefixes)
        self._queue: deque[deque[Job]] = deque()  # of each request
        self._active: dict[Continuation, Job] = {}
        self._cancelled: set[Job] = set()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="minillm engine", daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Write the continuations of a request.  RequestError if too many requests wait."""
        with self._changed:
            if len(self._queue) >= self.waiting:
                message = f"{self.waiting} requests wait already: try again later"
                raise RequestError(message, code="overloaded", status=503)
            self._queue.append(deque(jobs))
            self._changed.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End the jobs of a request, for example because its client has gone.

        Some may have ended already.
        """
        with self._changed:
            self._queue = deque(waiting for waiting in self._queue if waiting[0] not in jobs)
            self._cancelled.update(job for job in jobs if job.continuation in self._active)

    def close(self) -> None:
        """End the thread after its step."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._open:
            try:
                self._take()
                for one in self._batch.step():
                    if self._active[one].grow():
                        self._end(one)
            except Exception as error:  # such as a lack of memory: other requests may succeed
                self._fail(error)

    def _take(self) -> None:
        """Wait for work, and let it join."""
        with self._changed:
            while self._open and not self._queue and not self._active:
                self._changed.wait()
            for job in self._cancelled:
                if job.continuation in self._active:
                    self._end(job.continuation)
            self._cancelled.clear()
            while self._queue and len(self._active) < self.parallel:
                jobs = self._queue.popleft()
                job = jobs.popleft()
                if jobs:  # behind the other requests, so that each is served in turn
                    self._queue.append(jobs)
                if job.continuation.ended is not None and not job.continuation.scores_prompt:
                    job.grow()  # there is nothing to compute
                else:
                    self._active[job.continuation] = job
                    self._batch.add(job.continuation)

    def _end(self, one: Continuation) -> None:
        del self._active[one]
        self._batch.remove(one)

    def _fail(self, error: Exception) -> None:
        """End all that is being written; the caches may be wrong."""
        jobs = list(self._active.values())
        self._active.clear()
        self._batch = Batch(self.chat.reader, self._prefixes)
        for job in jobs:
            with contextlib.suppress(Exception):
                job.deliver(error)
