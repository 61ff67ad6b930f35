"""The command line: ``minillm VERB``, one verb a module.

A module of a verb has ``add_parser(verbs)``, which declares its arguments, and ``run(args)``,
which does the work and returns the exit status.  NumPy and the models are imported inside ``run``.
"""

import errno
import io
import os
import sys
from collections.abc import Sequence

import minillm
from minillm.cli import (
    analogy,
    classify,
    eval,
    export,
    generate,
    gradcheck,
    import_,
    info,
    plot,
    similar,
    tokenize,
    train,
    translate,
)
from minillm.cli.arguments import ArgumentParser
from minillm.errors import DivergedError, InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status: 2 for bad input, 1 for divergence.

    Without a verb it shows the help and returns 1, as git does.
    """
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
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    texts = (train, tokenize, generate, translate, classify, eval)
    for verb in (*texts, similar, analogy, export, import_, plot, gradcheck, info):
        verb.add_parser(verbs)
    args = parser.parse_args(argv)
    if "run" not in args:
        parser.print_help()
        return 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that a terminal lacks is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        return args.run(args)
    except InputError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of our output has gone, as in `minillm generate | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except DivergedError as error:
        _fail(str(error))
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        kept = "; what was saved before is kept" if full else ""
        return _fail(f"{place}{error.strerror or error}{kept}")
    except MemoryError as error:
        return _fail(f"out of memory: {error}")
    except KeyboardInterrupt:
        _fail("stopped")
        return 130


def _fail(message: str) -> int:
    print("minillm: " + " ".join(message.splitlines()), file=sys.stderr)
    return 2
