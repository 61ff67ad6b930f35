"""The process that a command runs in: its signals and its standard streams."""

import atexit
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from minillm import mpi
from minillm.errors import InputWarning, escaped, one_line

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # batch systems send SIGTERM: it is Ctrl-C
STOPPED = 130


def begin() -> None:
    """Let a signal end the process at once until the work begins: there is nothing to save.

    An exception might be caught by the import of a module that expects another one.  Of the ranks
    of a job, only rank 0 has an output.
    """
    _handle(_end)
    atexit.register(_handle, signal.SIG_IGN)  # when Python ends, it would restore the defaults
    if mpi.launched_as():
        _drop_output()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if it is closed
            stream.reconfigure(errors="backslashreplace")  # for what a terminal lacks
    if sys.stdout is not None and sys.stdout.isatty():  # texts of models must not command it
        write = sys.stdout.write
        sys.stdout.write = lambda text: write(escaped(text))  # type: ignore[method-assign]


def begin_work() -> None:
    """Let a signal raise KeyboardInterrupt from here on, so that nothing is left half done."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _interrupt)
    sys.unraisablehook = _unraisable
    _handle(_interrupt)


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Print each warning about the input as one line on standard error."""
    others = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **file: Any) -> None:
        if issubclass(category, InputWarning):
            say_once(str(message))
        else:
            others(message, category, *place, **file)

    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield


def end_work() -> None:
    """Let a signal end the process at once again, if one would interrupt the work so far."""
    if signal.getsignal(signal.SIGTERM) is _interrupt:
        _handle(_end)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def drop_output_that_fails() -> None:
    """Drop the output that cannot be written, so that Python does not try again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _drop_output()


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextmanager
def first_interrupt_noted() -> Iterator[list[int]]:
    """Yield a list that receives the first Ctrl-C in the block, which has no other effect.

    A second one stops the command as usual.
    """
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before)
        noted.append(number)

    if before is signal.SIG_IGN:
        yield noted
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _handle(handler: Any) -> None:
    """Let Ctrl-C and SIGTERM call ``handler``, unless the parent process ignores them."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    if not mpi.launched_as():  # rank 0 reports for all
        with suppress(OSError):
            os.write(2, b"minillm: stopped\n")
    os._exit(STOPPED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and again a tenth of a second later if it was lost.

    Destructors lose exceptions, and so does the import of compiled modules.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0.1)
    if not isinstance(sys.exc_info()[1], KeyboardInterrupt):  # otherwise it is on its way
        raise KeyboardInterrupt


def _unraisable(lost: Any) -> None:
    """``sys.unraisablehook``: report what a destructor raised, except for an interrupt."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)


def say(line: str) -> None:
    """Write a line to standard error, whatever is in it."""
    print(f"minillm: {one_line(line)}", file=sys.stderr, flush=True)


def say_once(line: str) -> None:
    """Write a line that all ranks of a job have: rank 0 does so for all."""
    if not mpi.launched_as():
        say(line)
