"""A process that fills in chat templates: lines of JSON on standard input and output.

A template is a program that a stranger wrote.  The sandbox of jinja2 keeps it from files and from
Python's internals, but it may loop or grow without an end.  So it runs in a process of its own,
which has a limit of memory, and a limit of CPU time for each line.  It ends with its input; see
:mod:`minillm.text.template_processes`.

The process imports nothing of ours, so that it starts fast.
"""

import json
import signal
import sys
from datetime import datetime
from typing import Any

MEMORY = 1 << 30  # bytes of addresses, where the system can limit them
LONGEST = 1 << 24  # characters of a result


def fill(source: str, each: list[dict[str, Any]]) -> list[str]:
    """Return the texts of a template, which gets the functions that transformers gives to one."""
    import jinja2.ext  # in the process only: 40 ms
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    def strftime_now(format: str) -> str:
        return datetime.now().strftime(format)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    template, texts, length = environment.from_string(source), [], 0
    for values in each:
        pieces = []
        for piece in template.generate(**values):
            length += len(piece)
            if length > LONGEST:
                raise jinja2.TemplateError(f"expected at most {LONGEST:,} characters")
            pieces.append(piece)
        texts.append("".join(pieces))
    return texts


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Fill in a template: its texts or its error."""
    try:
        return {"texts": fill(asked["source"], asked["values"])}
    except MemoryError:
        return {"error": f"it needs more than {MEMORY >> 20} MB of memory"}
    except Exception as error:
        line = getattr(error, "lineno", None)
        return {"error": f"line {line}: {error}" if line else str(error) or type(error).__name__}


def main() -> None:
    """Answer the lines of standard input."""
    sys.path.append(sys.argv[1])  # where jinja2 is installed
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # Windows has no such limit
    has_timer = hasattr(signal, "setitimer")  # of CPU time; Windows has none
    if has_timer:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends this process at once
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        if has_timer:
            signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
        written = json.dumps(answer(asked)).encode()
        if has_timer:
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(written + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
