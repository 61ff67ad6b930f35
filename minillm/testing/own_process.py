"""Run a reader's code in a process of its own, which sends its results as messages.

The code may end its process, loop without end, close a stream, leave a thread running, or replace
functions of NumPy.  The process that judges the results notices, or is not affected.  What the code
prints appears on standard error, the first 10,000 bytes of it.

A message is a line of JSON.  Arrays, tuples, bytes and dictionaries arrive as they were sent, and a
value of another type as a stand-in with the same ``repr``.
"""

import base64
import importlib
import json
import os
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
_SHOWN = 10_000  # bytes of what the code prints
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
    given = json.dumps(_encoded(list(args)))
    program = [sys.executable, "-P", "-c", _START, "\n".join(sys.path)]
    process = subprocess.Popen(
        [*program, function.__module__, function.__name__, given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    printed = threading.Thread(target=_show, args=(process.stderr,), daemon=True)
    printed.start()
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    try:
        while True:
            kind, value = _next(lines, process)
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
        printed.join(1)  # a process that the code has started may keep the stream open


def _read(stream: Any, lines: queue.Queue[bytes]) -> None:
    """Put all lines into the queue, and an empty one at the end."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(b"")


def _show(stream: Any) -> None:
    """Show what the code prints, up to a limit, and read on: a full pipe would stop the code."""
    left, beyond = _SHOWN, 0
    with stream:
        while part := stream.read1():
            sys.stderr.write(part[:left].decode(errors="replace"))
            sys.stderr.flush()
            beyond += max(0, len(part) - left)
            left -= min(left, len(part))
    if beyond:
        sys.stderr.write(f"\n(your code printed {beyond:,} bytes more, which are not shown)\n")


def _next(lines: queue.Queue[bytes], process: subprocess.Popen) -> tuple[str, Any]:
    """The kind and the value of the next message."""
    try:
        kind, value = json.loads(lines.get(timeout=SECONDS))
        return kind, _decoded(value)
    except queue.Empty:
        raise NoAnswerError(f"no answer after {SECONDS:g} seconds: an endless loop?") from None
    except (ValueError, TypeError, KeyError):  # the end, or no message of ours
        pass
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
        for value in generator(*_decoded(json.loads(given))):
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
    _channel.write(json.dumps([kind, _encoded(value)]).encode() + b"\n")
    _channel.flush()
    _last = time.monotonic()


# --- values as JSON ---------------------------------------------------------------------


def _encoded(value: Any) -> Any:
    if value is None or isinstance(value, (bool, float, str)) or _is_short(value):
        return value
    if value is ...:
        return {"...": ""}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, (list, tuple)):
        entries = [_encoded(entry) for entry in value]
        return {"tuple": entries} if isinstance(value, tuple) else entries
    if isinstance(value, dict):
        return {"dict": [[_encoded(key), _encoded(entry)] for key, entry in value.items()]}
    if hasattr(value, "__array__") and not isinstance(value, type):
        array = np.asarray(value)
        if array.dtype.kind in "biufcSU":
            data = base64.b64encode(array.tobytes()).decode()
            return {"array": data, "dtype": array.dtype.str, "shape": array.shape}
    try:
        return {"other": repr(value)}
    except Exception:  # its own __repr__ may raise, and Python writes no number of 5,000 digits
        return {"other": f"<{type(value).__name__}>"}


def _is_short(value: Any) -> bool:
    """Whether a value is a number that Python writes: some have thousands of digits."""
    return isinstance(value, int) and value.bit_length() < 10_000


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        data = base64.b64decode(value["array"])
        return np.frombuffer(bytearray(data), value["dtype"]).reshape(value["shape"])[()]
    if "dict" in value:
        return {_decoded(key): _decoded(entry) for key, entry in value["dict"]}
    if "tuple" in value:
        return tuple(_decoded(entry) for entry in value["tuple"])
    if "bytes" in value:
        return bytes.fromhex(value["bytes"])
    return ... if "..." in value else Other(value["other"])
