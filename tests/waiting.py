"""A limit for calls that could wait for ever, such as opening a pipe."""

import signal
from contextlib import contextmanager


@contextmanager
def deadline(seconds=2.0):
    """The block fails after some seconds."""

    def late(*_):
        raise AssertionError(f"it waits, after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
