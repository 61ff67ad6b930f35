"""The command line: ``minillm VERB``, one verb a module.

A module of a verb has ``add_parser(verbs)``, which declares its arguments, and ``run(args)``,
which does the work and returns the exit status.  NumPy and the models are imported inside ``run``.
"""

import errno
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minillm.cli import process

if TYPE_CHECKING:
    from minillm.cli.arguments import ArgumentParser

OVER_RANKS = ("train", "tokenize", "plan")  # verbs of which a job may run several processes
_TOGETHER = 3.0  # seconds within which an error that all ranks have reaches each of them


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    2 for bad input, 1 for divergence, 130 where Ctrl-C or SIGTERM stopped it, 141 where the reader
    of its output has gone.  Without a verb it shows the help and returns 1, as git does.

    Without ``argv``, the arguments, signals and standard streams are those of this process, whose
    signals end it at once until the work begins, and after it.
    """
    if argv is not None:
        return _run(argv)
    process.begin()
    process.open_streams()
    from minillm import mpi

    mpi.share_cores()
    try:
        return _run(None)
    finally:
        process.end_work()


def _run(argv: Sequence[str] | None) -> int:
    """Runs the command line; an error is told in one line."""
    from minillm import mpi
    from minillm.errors import DivergedError, InputError

    try:
        try:
            parser = _parser()
            args = parser.parse_args(argv)
            if "run" not in args:
                parser.print_help()
                return 1
            size = mpi.ranks().size
            if size > 1 and args.verb not in OVER_RANKS:
                raise InputError(
                    f"{args.verb}: expected one process, found {size}, started by mpiexec"
                )
            if argv is None:
                _import_what_takes_longest()
                process.begin_work()
            return args.run(args)
        finally:
            _flush()
    except InputError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of our output has gone, as in `minillm generate | head`
        process.drop_output()
        mpi.ranks().abort(128 + 13)
        return 128 + 13
    except DivergedError as error:
        return _fail(str(error), 1)
    except OSError as error:
        process.drop_output()
        return _fail(_told(error))
    except MemoryError as error:
        return _fail(f"out of memory: {error}")
    except KeyboardInterrupt:
        return _fail("stopped", process.STOPPED)
    except Exception:
        if mpi.ranks().size == 1:
            raise
        return _tell(traceback.format_exc(), 1)


def _parser() -> "ArgumentParser":
    """The parser of every verb."""
    import minillm
    from minillm.cli import (
        analogy,
        answer,
        classify,
        curve,
        embed,
        eval,
        export,
        fill,
        finetune,
        generate,
        gradcheck,
        import_,
        info,
        merge,
        plan,
        plot,
        similar,
        tokenize,
        train,
        translate,
    )
    from minillm.cli.arguments import ArgumentParser

    parser = ArgumentParser(
        prog="minillm",
        description="The history of language models, to train and to run on a plain CPU.",
        epilog="""\
a first session:
  minillm train lm --out runs/first --minutes 2    train on the text that Python brings along
  minillm generate runs/first                      read what the model writes
  minillm eval runs/first                          measure it on the text that was held out

minillm VERB --help explains a verb, with examples.
""",
    )
    version = f"minillm {minillm.__version__}"
    parser.add_argument("--version", action="version", version=version, help="show the version")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    texts = (train, finetune, curve, tokenize, generate, translate, fill, classify, answer, embed)
    for verb in (
        *texts,
        eval,
        similar,
        analogy,
        merge,
        export,
        import_,
        plot,
        plan,
        gradcheck,
        info,
    ):
        verb.add_parser(verbs)
    return parser


def _import_what_takes_longest() -> None:
    """What nearly every verb needs."""
    import numpy.random  # noqa: F401

    import minillm

    minillm.kernels_info()


def _flush() -> None:
    """Writes the output that is still in memory, while an error can be told."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _told(error: OSError) -> str:
    """What failed, with the file; a full disk is no loss."""
    place = f"{error.filename}: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    kept = "; what was saved before is kept" if full and place != "standard output: " else ""
    return f"{place}{error.strerror or error}{kept}"


def _fail(message: str, status: int = 2) -> int:
    return _tell(" ".join(message.splitlines()), status)


def _tell(text: str, status: int) -> int:
    """Tells an error and returns the status.

    Of one that all ranks of a job have, rank 0 tells.  One that some do not have ends them, too:
    they would wait for this rank.
    """
    from minillm import mpi
    from minillm.errors import InputError

    try:
        ranks = mpi.ranks()
    except InputError:  # this is the error
        if mpi.launched_as() == 0:
            print(f"minillm: {text}", file=sys.stderr)
        return status
    together = ranks.all_fail(_TOGETHER)
    if ranks.rank == 0 or not together:
        where = "" if together else f"rank {ranks.rank}: "
        print(f"minillm: {where}{text}", file=sys.stderr, flush=True)
    if not together or (status == process.STOPPED and ranks.rank == 0):
        ranks.abort(status)  # what a signal has interrupted cannot be ended in another way
    return status
