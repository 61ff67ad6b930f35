"""Commands in forks of a process that has imported everything: a tenth of a second each."""

import contextlib
import importlib
import os
import signal
import sys
import traceback

SIGNALS = {signal.SIGINT, signal.SIGTERM}
MODULES = ["matplotlib.backends.backend_agg", "matplotlib.figure", "sklearn.datasets"]


def import_everything():
    """To be called once, before the first fork."""
    from minillm.cli.arguments import VERBS, verb

    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in VERBS:
        verb(name)


def fork(argv, streams, missing=()):
    """Starts ``minillm ARGV``, and returns its number.

    streams has a path for each of the three standard streams.
    The modules that are ``missing`` cannot be imported.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the command handles them
    child = os.fork()
    if child == 0:
        sys.modules.update(dict.fromkeys(missing))
        status = 99
        try:
            status = _run(argv, streams)
        except BaseException:
            sys.__stderr__.write(traceback.format_exc())
            sys.__stderr__.flush()
        finally:
            os._exit(status)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return child


def _run(argv, streams):
    from minillm.cli import main, process

    for number, path in enumerate(streams):
        os.close(number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
        assert os.open(path, flags) == number
    sys.stdin, sys.stdout, sys.stderr = map(open, range(3), "rww")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.argv = ["minillm", *argv]
    for number in SIGNALS:
        signal.signal(number, process._end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        status = main()
    except SystemExit as exit:
        status = exit.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    try:  # as Python does when it ends
        sys.stdout.flush()
    except OSError:
        status = 120
    sys.stderr.flush()
    return status
