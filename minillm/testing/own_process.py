"""Run a reader's code in a process of its own, which sends its results as messages.

The code may end its process, loop without end, close a stream, leave a thread running, or replace
functions of NumPy.  The process that judges the results notices, or is not affected.  What the code
prints appears on standard error.

Numbers, texts, arrays, and lists, tuples and dictionaries of them arrive as they were sent, and a
value of another type as a stand-in with the same ``repr``.
"""

import importlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from minillm.errors import InputError, describe_error

SECONDS = 60.0  # without a message, after which the process is stopped
_BEAT = 1.0  # seconds between two signs of life
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
    f"from {__name__} import run; run(*sys.argv[1:])"
)


class NoAnswerError(Exception):
    """The process ended before its last message, or sent none for too long."""


class Other:
    """A value of a type that a message cannot hold."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


# --- the process that asks --------------------------------------------------------------


def messages(function: Callable[..., Iterator[Any]], *args: Any) -> Generator[Any]:
    """Yield what ``function(*args)``, a generator of a module, yields in a process of its own.

    InputError passes through.  Raises NoAnswerError if the process ends too early or falls silent.
    """
    given = json.dumps(args)
    program = [sys.executable, "-P", "-c", _START, "\n".join(sys.path)]
    process = subprocess.Popen(
        [*program, function.__module__, function.__name__, given], stdout=subprocess.PIPE
    )
    received: queue.Queue[tuple[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, received), daemon=True).start()
    try:
        while True:
            kind, value = _next(received, process)
            if kind == "end":
                return
            if kind == "input error":
                raise InputError(value)
            if kind == "raised":
                raise NoAnswerError(f"the code raised {value}")
            if kind == "message":
                yield value
    finally:
        process.kill()
        process.wait()


def _read(stream: Any, received: queue.Queue[tuple[str, Any]]) -> None:
    """Put all messages into the queue, and "closed" at the end."""
    with stream, suppress(Exception):  # at the end, or at what is no message of ours
        while True:
            received.put(pickle.load(stream))
    received.put(("closed", None))


def _next(received: queue.Queue[tuple[str, Any]], process: subprocess.Popen) -> tuple[str, Any]:
    """The kind and the value of the next message."""
    try:
        kind, value = received.get(timeout=SECONDS)
    except queue.Empty:
        raise NoAnswerError(f"no answer after {SECONDS:g} seconds: an endless loop?") from None
    if kind != "closed":
        return kind, value
    try:
        status = process.wait(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise NoAnswerError("the code closed the channel of its answers") from None
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    raise NoAnswerError(f"the code ended its process ({ended}) before its answer was complete")


# --- the process that runs the code -----------------------------------------------------

_channel: Any = None  # in this process: the file of the messages
_last = 0.0  # when one was sent


def run(module: str, function: str, given: str) -> None:
    """Send the messages of a generator, and end the process at once."""
    global _channel
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the process that asks reports Ctrl-C
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # errors say it
    _channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    leave, kind, text = os._exit, "end", ""
    try:
        generator = getattr(importlib.import_module(module), function)
        for value in generator(*json.loads(given)):
            _send("message", value)
    except InputError as error:
        kind, text = "input error", str(error)
    except BaseException as error:  # whatever the code raises
        kind, text = "raised", describe_error(error)
    _send(kind, text)
    leave(0)  # threads that are left would keep the process


def alive() -> None:
    """Send a sign of life, in a process of a reader's code whose work takes long."""
    if _channel is not None and time.monotonic() - _last > _BEAT:
        _send("alive", None)


def _send(kind: str, value: Any) -> None:
    global _last
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or replaced by anything
            stream.flush()
    pickle.dump((kind, _plain(value)), _channel)
    _channel.flush()
    _last = time.monotonic()


def _plain(value: Any) -> Any:
    """The value, of types that the other process has too."""
    if value is None or value is ... or isinstance(value, bool):
        return value
    if isinstance(value, int) and value.bit_length() < 10_000:  # Python writes no longer ones
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (str, bytes)):
        return value[:]  # without a class of the reader's own
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(map(_plain, value))
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if hasattr(value, "__array__") and not isinstance(value, type):
        array = np.array(value, subok=False)
        if array.dtype.kind in "biufcSU":
            return array[()]
    try:
        return Other(repr(value))
    except Exception:  # its own __repr__ may raise, and Python writes no number of 5,000 digits
        return Other(f"<{type(value).__name__}>")
