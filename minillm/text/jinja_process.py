"""A process that fills in chat templates: one conversation after another, a line of JSON each.

A template is a program that a stranger wrote.  The sandbox of jinja2 keeps it from files and from
Python's internals, but it may loop or grow without an end.  So it runs in a process of its own,
which has a limit of memory, and a limit of CPU time for each line.  It ends with its input; see
:mod:`minillm.text.template_processes`.

The constants of a template are of the class :class:`Written` here, so the result tells the
characters that the template wrote from the messages' own.

The process imports nothing of ours, so that it starts fast.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

MEMORY = 1 << 30  # bytes of addresses, where the system can limit them
LONGEST = 1 << 24  # characters of a result

TEMPLATE, MESSAGE = "t", "m"  # who wrote a character
TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")  # texts that count as the template's


class Written(str):
    """A text and, for each of its characters, whether the template or a message wrote it.

    >>> text = ours("<s>") + " cat " + ours("</s>")
    >>> text, text[4:].by
    ('<s> cat </s>', 'mmmmtttt')

    A plain string counts as written by a message.  So does the result of a method that is not
    followed here, such as ``format``: characters may lose their trust, but never gain it.
    """

    by: str

    def __new__(cls, text: str = "", by: str | None = None) -> "Written":
        self = super().__new__(cls, text)
        self.by = MESSAGE * len(self) if by is None else by
        return self

    def __str__(self) -> "Written":
        return self

    def __add__(self, other: str) -> "Written":
        return Written(super().__add__(other), self.by + _by(other))

    def __radd__(self, other: str) -> "Written":
        return Written(other.__add__(self), _by(other) + self.by)

    def __mul__(self, count: Any) -> "Written":
        return Written(super().__mul__(count), self.by * count)

    __rmul__ = __mul__

    def __getitem__(self, at: Any) -> "Written":
        return Written(super().__getitem__(at), self.by[at])

    def join(self, texts: Iterable[str], /) -> "Written":
        texts = list(texts)
        return Written(super().join(texts), self.by.join(map(_by, texts)))

    def lstrip(self, characters: str | None = None, /) -> "Written":
        return self[len(self) - len(super().lstrip(characters)) :]

    def rstrip(self, characters: str | None = None, /) -> "Written":
        return self[: len(super().rstrip(characters))]

    def strip(self, characters: str | None = None, /) -> "Written":
        return self.lstrip(characters).rstrip(characters)

    def split(self, separator: str | None = None, maxsplit: Any = -1) -> list[str]:
        parts, at = super().split(separator, maxsplit), 0
        for number, part in enumerate(parts):
            at = self.index(part, at)
            parts[number] = self[at : at + len(part)]
            at += len(part) + len(separator or "")
        return parts

    def replace(self, old: str, new: str, count: Any = -1, /) -> str:
        if not old:
            return super().replace(old, new, count)
        return Written(new, _by(new)).join(self.split(old, count))

    def upper(self) -> str:
        return self._with(super().upper())

    def lower(self) -> str:
        return self._with(super().lower())

    def capitalize(self) -> str:
        return self._with(super().capitalize())

    def title(self) -> str:
        return self._with(super().title())

    def _with(self, text: str) -> str:
        """A text made of this one, character by character; a few become two in upper case."""
        return Written(text, self.by) if len(text) == len(self) else text


def ours(text: str) -> Written:
    """A text that a template wrote."""
    return Written(text, TEMPLATE * len(text))


def _by(text: str) -> str:
    return text.by if isinstance(text, Written) else MESSAGE * len(text)


@lru_cache(maxsize=4)
def filler(source: str) -> Callable[[Mapping[str, Any]], Written]:
    """The function that fills in a template, with the functions of transformers in it."""
    import jinja2.ext  # in the process only: 40 ms
    from jinja2.compiler import CodeGenerator
    from jinja2.filters import do_join
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class WithWritten(CodeGenerator):
        """Code whose constant texts are of the class Written."""

        def visit_Const(self, node: Any, frame: Any) -> None:
            text = isinstance(node.value, str)
            self.write(
                f"environment.ours({str.__repr__(node.value)})" if text else repr(node.value)
            )

        def visit_Concat(self, node: Any, frame: Any) -> None:
            self.write("environment.concat(map(str, (")
            for part in node.nodes:
                self.visit(part, frame)
                self.write(", ")
            self.write(")))")

        def _output_const_repr(self, group: Iterable[Any]) -> str:
            return f"environment.ours({super()._output_const_repr(group)})"

    class Generation(jinja2.ext.Extension):
        """``{% generation %}``: answers in the templates of TRL, whose text is all that counts."""

        tags = {"generation"}  # noqa: RUF012  # as the base class has it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    def strftime_now(format: str) -> str:  # noqa: A002  (as templates call it)
        return datetime.now().strftime(format)

    @jinja2.pass_eval_context
    def join(context: Any, value: Any, d: str = ours(""), attribute: Any = None) -> str:
        return do_join(context, value, d, attribute)

    class Environment(ImmutableSandboxedEnvironment):
        code_generator_class = WithWritten
        concat = staticmethod(ours("").join)
        ours = staticmethod(cache(ours))  # for the code above

    environment = Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # which would make constants of expressions, of the class str
        extensions=[jinja2.ext.loopcontrols, Generation],
    )
    Written.__name__, Written.__module__ = "str", "builtins"  # for messages
    environment.filters |= {"tojson": tojson, "join": join}
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    template = environment.from_string(source)

    def fill(values: Mapping[str, Any]) -> Written:
        values = {n: ours(v) if n in TOKENS else v for n, v in values.items()}
        messages = [{**message, "role": ours(message["role"])} for message in values["messages"]]
        pieces, length = [], 0
        for piece in template.generate(values | {"messages": messages}):
            length += len(piece)
            if length > LONGEST:
                raise jinja2.TemplateError(f"expected at most {LONGEST:,} characters")
            pieces.append(piece)
        return Written("", "").join(pieces)

    return fill


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in a template for a conversation: its text and who wrote it, or an error."""
    try:
        text = filler(asked["source"])(asked["values"])
        return {"text": text[:], "by": text.by}
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
