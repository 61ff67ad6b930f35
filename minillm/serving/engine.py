"""The engine: one thread that continues the texts of all requests together."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence

from minillm.decoding.batch import Batch, Kept
from minillm.decoding.chat import Chat
from minillm.decoding.pieces import Pieces
from minillm.decoding.sampling import Sampling
from minillm.decoding.writer import Text


class Full(Exception):
    """Too many requests wait."""


class Job:
    """A text that the engine continues.

    ``deliver(piece, reason)`` is called, in the engine's thread, with each piece of the text, and
    last with why it has ended: "stop", "length", or an exception.
    """

    def __init__(
        self,
        text: Text,
        pieces: Pieces,
        deliver: Callable[[str, str | Exception | None], None],
    ):
        self.text, self.pieces, self.deliver = text, pieces, deliver
        self._seen = len(text.ids)

    @property
    def written(self) -> int:
        """The number of tokens that have been drawn."""
        return len(self.text.ids) - self.text.prompt

    def grow(self) -> bool:
        """Deliver the piece that new ids have added; whether the text has ended."""
        ended, new = self.text.ended, self.text.ids[self._seen :]
        self._seen += len(new)
        piece = ""
        for token in new[:-1] if ended == "stop" else new:
            if not self.pieces.stopped:
                piece += self.pieces.add(token)
        if ended is not None:
            piece += self.pieces.end()
        reason = "stop" if self.pieces.stopped else ended
        self.deliver(piece, reason)
        return reason is not None


class Engine:
    """Requests that share the weights of one model.

    At most ``parallel`` texts are continued at a time, and at most ``waiting`` others wait.
    """

    def __init__(self, chat: Chat, parallel: int, waiting: int):
        self.chat, self.parallel, self.waiting = chat, parallel, waiting
        self._kept = Kept(chat.reader, parallel)
        self._batch = Batch(chat.reader, self._kept)
        self._queue: deque[Job] = deque()
        self._active: dict[Text, Job] = {}
        self._cancelled: set[Job] = set()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="minillm engine", daemon=True)
        self._thread.start()

    def submit(
        self,
        ids: Sequence[int],
        length: int | None,
        sampling: Sampling,
        stop: Sequence[str],
        deliver: Callable[[str, str | Exception | None], None],
    ) -> Job:
        """Continue ids with at most ``length`` others that fit, and before a text in ``stop``.

        Raises Full if too many requests wait.
        """
        text = self.chat.to_continue(ids, length, sampling)
        job = Job(text, Pieces(self.chat.tokenizer, stop, after=ids[-1]), deliver)
        with self._changed:
            if len(self._queue) >= self.waiting:
                raise Full
            self._queue.append(job)
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """End a job, for example because its client has gone; it may have ended already."""
        with self._changed:
            if job in self._queue:
                self._queue.remove(job)
            elif job.text in self._active:
                self._cancelled.add(job)

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
                for text in self._batch.step():
                    if self._active[text].grow():
                        self._end(text)
            except Exception as error:  # such as a lack of memory: other requests may succeed
                self._fail(error)

    def _take(self) -> None:
        """Wait for work, and let it join."""
        with self._changed:
            while self._open and not self._queue and not self._active:
                self._changed.wait()
            for job in self._cancelled:
                if job.text in self._active:
                    self._end(job.text)
            self._cancelled.clear()
            while self._queue and len(self._active) < self.parallel:
                job = self._queue.popleft()
                self._active[job.text] = job
                self._batch.add(job.text)

    def _end(self, text: Text) -> None:
        del self._active[text]
        self._batch.remove(text)

    def _fail(self, error: Exception) -> None:
        """End all texts that are continued; their caches may be wrong."""
        jobs = list(self._active.values())
        self._active.clear()
        self._batch = Batch(self.chat.reader, self._kept)
        for job in jobs:
            with contextlib.suppress(Exception):
                job.deliver("", error)
