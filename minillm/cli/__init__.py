"""The command line: ``minillm VERB``.

A verb is a function, whose parameters are its arguments: see :mod:`minillm.cli.arguments`, which
has the list of verbs.
"""

import errno
import sys
import traceback
from collections.abc import Container, Sequence
from types import ModuleType

from minillm import mpi
from minillm.cli import process
from minillm.errors import DivergedError, InputError, one_line

_TOGETHER = 3.0  # seconds in which an error of all ranks reaches each of them


def main(argv: Sequence[str] | None = None, program: ModuleType | None = None) -> int:
    """Run the command line and return its exit status.

    ``program`` is a module whose function ``run`` is a verb, which is run instead of one: a study.

    It is 2 for bad input, 1 for divergence, 130 after Ctrl-C or SIGTERM, 141 if the reader of the
    output has gone.  Without a verb, it shows the help and returns 1, like git.

    Without ``argv``, it has the arguments, signals and standard streams of this process.  A signal
    ends it at once until the work begins, and after the work.
    """
    if argv is not None:
        return _run(argv, program)
    process.begin()
    mpi.share_cores()
    try:
        return _run(None, program)
    finally:
        process.end_work()
        process.drop_output_that_fails()


def _run(argv: Sequence[str] | None, program: ModuleType | None) -> int:
    """Run the command line; an error is reported in one line."""
    # argparse and the rest take 20 ms; signals are handled before
    from minillm.cli.arguments import command_line, parser_of

    flags: Container[str] = ()
    try:
        try:
            parser = command_line() if program is None else parser_of(program)
            args = parser.parse_args(argv)  # imports the verb and its modules
            flags = getattr(args, "flags", ())
            if "run" not in args:
                parser.print_help()
                return 1
            size = mpi.ranks().size
            if size > 1 and "over_ranks" not in args:
                raise InputError(
                    f"{args.verb}: expected one process, found {size}, started by mpiexec"
                )
            if argv is None:
                process.begin_work()
            with process.warnings_in_lines():
                return args.run(args)
        finally:
            if sys.stdout is not None:  # here, an error can still be reported
                sys.stdout.flush()
    except InputError as error:
        return _fail(_in_options(error, flags))
    except BrokenPipeError:  # the reader of our output has gone, as in `minillm generate | head`
        mpi.ranks().abort(128 + 13)
        return 128 + 13
    except DivergedError as error:
        return _fail(str(error), status=1)
    except OSError as error:
        return _fail(_message(error))
    except MemoryError as error:
        return _fail(f"out of memory: {error}")
    except KeyboardInterrupt:
        return _fail("stopped", status=process.STOPPED)
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # in Python 3.11, while a class is made
            return _fail("stopped", status=process.STOPPED)
        if mpi.ranks().size == 1:
            raise
        return _report(traceback.format_exc(), 1)


def _in_options(error: InputError, flags: Container[str]) -> str:
    """The message of an error, with the option of the command line for an argument of Python."""
    flag = f"--{error.field or ''}".replace("_", "-")
    return f"{flag}: {error.args[0]}" if flag in flags else str(error)


def _message(error: OSError) -> str:
    """The file and the error; after a full disk, a note on what is kept."""
    place = f"{error.filename}: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    kept = "; what was saved before is kept" if full and place else ""
    return f"{place}{error.strerror or error}{kept}"


def _fail(reason: str, status: int = 2) -> int:
    return _report(one_line(reason), status)


def _report(text: str, status: int) -> int:
    """Report the reason of an error and return the status.

    Rank 0 reports an error that all ranks of a job have.  If only one rank has an error, it reports
    it and ends the others, which would wait for it.
    """
    try:
        ranks = mpi.ranks()
    except InputError:  # this is the error
        if mpi.launched_as() == 0:
            _print(text)
        return status
    together = ranks.all_fail(_TOGETHER)
    if ranks.rank == 0 or not together:
        where = "" if together else f"rank {ranks.rank}: "
        _print(where + text)
    if not together or (status == process.STOPPED and ranks.rank == 0):
        ranks.abort(status)  # what a signal has interrupted cannot be ended in another way
    return status


def _print(text: str) -> None:
    print(f"minillm: {text}", file=sys.stderr, flush=True)
