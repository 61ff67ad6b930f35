"""Threads for work that would hold up the loop that serves all clients."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """At most ``most`` threads at a time.  The process does not wait for them when it ends."""

    def __init__(self, most: int):
        self._places = asyncio.Semaphore(most)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of some work.  It does not begin if the caller is cancelled before."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def end(result: T | None, error: BaseException | None) -> None:
            self._places.release()
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        def call() -> None:
            result: T | None = None
            failure: BaseException | None = None
            try:
                result = work()
            except BaseException as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(end, result, failure)

        try:
            threading.Thread(target=call, name="minillm request", daemon=True).start()
        except BaseException:  # there can be no more threads
            self._places.release()
            raise
        return await done
