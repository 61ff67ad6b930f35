"""The processes that fill in chat templates: a few, which are kept for the next templates.

A process reads a template and its values as a line of JSON, and writes its answer as another line:
see :mod:`minillm.text.jinja_process`.  One whose template needs too much time or memory ends, and
is replaced when the next template comes.
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

from minillm.errors import InputError

MOST = min(4, os.cpu_count() or 1)  # processes
LONGEST_WAIT = 30  # seconds until one of them is free
LONGEST_ANSWER = 60  # seconds of the clock: a machine with much to do needs more than of CPU time

STOPPED = -getattr(signal, "SIGPROF", 0)  # the status of a process that used up its CPU time


class NoTime(InputError):
    """A template was not filled in, because the machine has too much to do."""

    def __init__(self) -> None:
        super().__init__("the chat template: there was no time for it; try again later")


class _Process:
    """A process that fills in one template after the other."""

    def __init__(self, origin: str):
        program = Path(__file__).with_name("jinja_process.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(program), str(Path(origin).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def alive(self) -> bool:
        return self._process.poll() is None

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the process: a text, or an error.  NoTime if there is none in time."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(LONGEST_ANSWER, stop)
        timer.daemon = True
        timer.start()
        try:
            stdin.write(json.dumps(asked).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except OSError:  # it has ended
            line = b""
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            return json.loads(line)
        status = self._process.wait()
        if late.is_set():
            raise NoTime
        if status == STOPPED:
            return {"error": f"it was stopped after {asked['seconds']} seconds"}
        return {"error": "it ended without a result; it may have needed too much memory"}

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # a line that was not written
                assert stream is not None
                stream.close()

    def forget(self) -> None:
        """Leave the process to its parent: this program is a fork of the parent."""
        self._process.returncode = 0


class _Processes:
    """At most MOST processes, which start when they are needed."""

    def __init__(self) -> None:
        self.running: set[_Process] = set()
        self._free: LifoQueue[_Process | None] = LifoQueue()  # the one last used comes first
        for _ in range(MOST):
            self._free.put(None)

    def answer(self, origin: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a process that is free.  NoTime if none is free in time."""
        try:
            process = self._free.get(timeout=LONGEST_WAIT)
        except Empty:
            raise NoTime from None
        kept = None
        try:
            if process is not None and not process.alive():
                self._end(process)
                process = None
            if process is None:
                process = _Process(origin)
                self.running.add(process)
            answer = process.answer(asked)
            kept = process if process.alive() else None
            return answer
        finally:  # after an interrupt, its answer would be taken for the next template's
            if kept is None and process is not None:
                self._end(process)
            self._free.put(kept)

    def _end(self, process: _Process) -> None:
        self.running.discard(process)
        process.end()


_processes = _Processes()


def fill_in(source: str, values: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Fill in a template: return {"text": text, "by": who wrote it} or {"error": message}.

    It may use so many seconds of CPU time.  NoTime, an InputError, if the machine is too busy.
    """
    found = find_spec("jinja2")
    if found is None or found.origin is None:
        raise InputError('this chat template needs the package jinja2, which the extra "chat" has')
    return _processes.answer(found.origin, {"source": source, "values": values, "seconds": seconds})


@atexit.register
def _end() -> None:
    for process in list(_processes.running):
        process.end()


def _forked() -> None:
    """Start with no process in a fork: two programs cannot talk to the same one."""
    global _processes, _of_parent
    _of_parent = _processes.running
    for process in _of_parent:
        process.forget()
    _processes = _Processes()


_of_parent: set[_Process] = set()  # kept, so that their streams are not closed in the middle

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
