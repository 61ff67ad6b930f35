"""Threads for work that would hold up the loop that serves all clients."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """At most ``most`` threads at a time.  The process does not wait for them when it ends."""

    def __init__(self, most: int):
        self._places = asyncio.Semaphore(most)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of some work.  It does not start if the caller is cancelled before."""
        await self._places.acquire()
        loop, future = asyncio.get_running_loop(), Future[T]()
        future.set_running_or_notify_cancel()  # from now on, the work runs to its end

        def call() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self._places.release)

        try:
            threading.Thread(target=call, name="minillm request", daemon=True).start()
        except BaseException:  # there can be no more threads
            self._places.release()
            raise
        return await asyncio.wrap_future(future)
