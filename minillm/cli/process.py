"""The process that a command runs in: its signals and its standard streams."""

import errno
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

    An exception might be caught by the import of a module that expects another one.
    """
    _handle(_end)


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
        if not issubclass(category, InputWarning):
            others(message, category, *place, **file)
        else:
            say_once(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            warnings.showwarning = others


def end_work() -> None:
    """Let a signal end the process at once again."""
    _handle(_end)
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def end_work_at_once() -> None:
    """Let a signal end the process at once again, if one would interrupt the work so far."""
    if signal.getsignal(signal.SIGTERM) is _interrupt:
        end_work()


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


class _Stream(io.RawIOBase):
    """A standard stream to write to.

    If it is closed or cannot be written, an OSError names it or, with ``lossy``, nothing happens.
    """

    def __init__(self, stream: Any, name: str, lossy: bool):
        self.stream, self.name, self.lossy = stream, name, lossy

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream is not None and self.stream.isatty()

    def write(self, data: Any) -> int:
        try:
            if self.stream is None:
                raise OSError(errno.EBADF, "it is closed")
            return self.stream.write(data)
        except OSError as error:
            if not self.lossy:
                raise OSError(error.errno, error.strerror, self.name) from None
            return len(data)


def open_streams() -> None:
    """Replace the standard streams: errors of output name it, error output never fails.

    Of the ranks of a job, only rank 0 has an output.  The numbers of closed streams are taken,
    because the next open files would get them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # has the lowest free number, which is this one
    if mpi.launched_as():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = _text(sys.stdout, "standard output", lossy=False)
    sys.stderr = _text(sys.stderr, "standard error", lossy=True)


def _text(before: Any, name: str, lossy: bool) -> io.TextIOWrapper:
    """A text stream like Python's; a character that a terminal lacks is escaped.

    On a terminal, so are control characters of the output.
    An unbuffered one (PYTHONUNBUFFERED) is flushed after each line, because there is a buffer
    below.
    """
    if before is None:
        return io.TextIOWrapper(io.BufferedWriter(_Stream(None, name, lossy)), "utf-8")
    raw = _Stream(getattr(before.buffer, "raw", before.buffer), name, lossy)
    # Standard error has the bar of a training, which moves the cursor.
    wrapper = _Terminal if raw.isatty() and not lossy else io.TextIOWrapper
    return wrapper(
        io.BufferedWriter(raw),
        before.encoding,
        "backslashreplace",
        line_buffering=before.line_buffering or before.write_through,
    )


class _Terminal(io.TextIOWrapper):
    """A terminal that texts of models and files cannot command: control characters are escaped."""

    def write(self, text: str, /) -> int:
        super().write(escaped(text))
        return len(text)


def say(line: str) -> None:
    """Write a line to standard error, whatever is in it."""
    print(f"minillm: {one_line(line)}", file=sys.stderr, flush=True)


def say_once(line: str) -> None:
    """Write a line that all ranks of a job have: rank 0 does so for all."""
    if not mpi.launched_as():
        say(line)


def drop_output() -> None:
    """Drop the output that cannot be written, so that Python does not try again."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Stream):
        raw.lossy = True
