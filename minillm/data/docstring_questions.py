"""Questions about functions, answered by their docstrings: a set that needs no download.

The pages are those that ``help`` shows for the functions and classes of the standard library and
of NumPy: name, parameters, docstring.  They are read from the source; nothing is imported.

    open_json(path, mode='r', limit=100)

    Read an object from a file.

    Parameters
    ----------
    path : str or Path
        The file to read.  It is closed afterwards.
    limit : int, optional
        How many bytes to read at most.

**The questions are templates**, filled in with names; nobody asked them.  What a template asks
for is found by the shape of the page, so that its answer is a piece of the page:

    default     What is the default of limit in open_json?      100
    type        What type does path have?                       str or Path
    purpose     What is limit for?                              How many bytes to read at most
    returns     What does open_json return?                     (the first sentence under "Returns")

A set like this shows that a reader finds what is asked for in a page that it has never seen.  It
does not show that it understands questions as people ask them: there are four kinds of them, in
four wordings each.

The set differs from one version of Python or NumPy to the next.  It is split by module: no page,
and no other page of its module, stands on two sides.
"""

import ast
import hashlib
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from minillm.data.docstrings import parsed_modules
from minillm.data.splits import split_by_hash
from minillm.data.squad import Answer, Question

SHARE = 10  # a tenth of the modules is for validation, and a tenth for test
LONGEST_PAGE = 250  # words that are kept of a page
SHORTEST_PAGE = 15
LONGEST_ANSWER = 40  # words
MOST_QUESTIONS = 8  # about one page

TEMPLATES = {
    "default": (
        "What is the default of {parameter} in {page}?",
        "What does {parameter} default to?",
        "Which value does {page} use if {parameter} is not given?",
        "What value does {parameter} have by default?",
    ),
    "type": (
        "What type does {parameter} have?",
        "What type does the parameter {parameter} of {page} have?",
        "What kind of value is {parameter}?",
        "Which type does {page} expect for {parameter}?",
    ),
    "purpose": (
        "What is {parameter} for?",
        "What does the parameter {parameter} of {page} mean?",
        "What is the meaning of {parameter} in {page}?",
        "What does {parameter} say?",
    ),
    "returns": (
        "What does {page} return?",
        "What is returned by {page}?",
        "What is the result of {page}?",
        "What comes back from {page}?",
    ),
}


class Page(NamedTuple):
    """A function or a class, and what is said of it: the signature, and the docstring.

    ``defaults`` has the source of each parameter's default value, None where it has none.
    """

    module: str
    name: str
    text: str
    defaults: dict[str, str | None]


class DocstringQuestions:
    """The built-in set: questions in three parts."""

    def __init__(self) -> None:
        modules: dict[str, list[Question]] = {}
        seen: set[str] = set()
        for name, tree in parsed_modules():
            for page in pages_of(name, tree):
                body = page.text.partition("\n")[2]
                if body not in seen:  # many methods have the docstring of another
                    seen.add(body)
                    modules.setdefault(name, []).extend(questions_about(page))
        names = [name for name, questions in modules.items() if questions]
        tenth = len(names) // SHARE
        self.parts = {
            part: [question for name in sorted(those) for question in modules[name]]
            for part, those in split_by_hash(names, tenth, tenth).items()
        }

    def questions(self, part: str) -> list[Question]:
        """The questions of a part."""
        return self.parts[part]


# --- pages ---------------------------------------------------------------------------------------

Function = ast.FunctionDef | ast.AsyncFunctionDef

# What comes after parameters and results, and is long.
_REST = re.compile(
    r"^(See Also|Notes?|References|Examples?|Warnings?|Methods|Attributes)\n[-=]{3,} *$|^ *>>> ",
    re.MULTILINE,
)


_SIGNATURE = re.compile(r"[\w.]+(\(.*\))\s*(?:--)?", re.DOTALL)  # as functions in C have it


def pages_of(module: str, tree: ast.Module) -> Iterator[Page]:
    """The public functions, classes and methods of a module whose pages are long enough."""
    for node in tree.body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "add_newdoc":
            yield from _page(module, *_new_docstring(call))
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield from _page(module, node.name, _arguments_of(node), ast.get_docstring(node))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and not inner.name.startswith("_"):
                    name = f"{node.name}.{inner.name}"
                    yield from _page(module, name, inner.args, ast.get_docstring(inner))


def _page(
    module: str, name: str, arguments: ast.arguments | None, docstring: str | None
) -> Iterator[Page]:
    """The page, if there is enough to read."""
    docstring = docstring or ""
    rest = _REST.search(docstring)
    docstring = _first_words(docstring[: rest.start() if rest else None], LONGEST_PAGE)
    if len(docstring.split()) >= SHORTEST_PAGE:
        written = f"({ast.unparse(arguments)})" if arguments else ""
        yield Page(module, name, f"{name}{written}\n\n{docstring}", _defaults_of(arguments))


def _arguments_of(node: ast.AST) -> ast.arguments | None:
    """The parameters of a function, or of a class's ``__init__``."""
    if isinstance(node, ast.ClassDef):
        named = (inner for inner in node.body if getattr(inner, "name", "") == "__init__")
        node = next(named, node)
    return node.args if isinstance(node, Function) else None


def _new_docstring(call: ast.Call) -> tuple[str, ast.arguments | None, str]:
    """Name, parameters and docstring of NumPy's ``add_newdoc(module, name, docstring)``.

    The docstring is a text or, of a method, a pair of its name and a text, which may begin with
    the signature: they belong to functions in C.
    """
    try:
        _, name, docstring = (ast.literal_eval(argument) for argument in call.args)
    except ValueError:  # a text that is put together
        return "", None, ""
    if isinstance(docstring, tuple):
        name, docstring = f"{name}.{docstring[0]}", docstring[1]
    docstring = inspect.cleandoc(docstring)
    first, _, others = docstring.partition("\n\n")
    signature = _SIGNATURE.fullmatch(first.replace("$", ""))  # $self is the object of a method
    if signature:
        with suppress(SyntaxError, ValueError):
            [function] = ast.parse(f"def f{signature[1]}: pass").body
            return name, _arguments_of(function), others
    return name, None, docstring


def _defaults_of(arguments: ast.arguments | None) -> dict[str, str | None]:
    """The source of the default of each parameter, None where it has none."""
    if arguments is None:
        return {}
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*missing, *arguments.defaults, *arguments.kw_defaults]
    parameters = [*positional, *arguments.kwonlyargs]
    return {
        parameter.arg: ast.unparse(default) if default else None
        for parameter, default in zip(parameters, defaults, strict=True)
    }


def _first_words(text: str, most: int) -> str:
    """The first lines of a text, of at most so many words."""
    kept: list[str] = []
    for line in text.splitlines():
        most -= len(line.split())
        if most < 0:
            break
        kept.append(line)
    return "\n".join(kept).rstrip()


# --- questions -----------------------------------------------------------------------------------


class Span(NamedTuple):
    """What may be asked: the kind of question, the parameter, where the answer begins and ends."""

    kind: str
    parameter: str
    start: int
    end: int


_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,} *$", re.MULTILINE)
_ITEM = re.compile(r"^(?P<name>[*\w][*\w, ]*?)(?: *: *(?P<type>\S.*))?$", re.MULTILINE)
_LISTED = re.compile(r"^[ \t]*[-*]?[ \t]*(?P<name>\w+)(?:[ \t]+--?|:)[ \t]+(?=\S)", re.MULTILINE)
_RETURN = re.compile(r"(?:Return|Returns)\s+(?=\S)")
_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)[.!?](?=\s)|\n\s*\n")
_NO_TYPE = re.compile(r",? *\(?(?:optional|default)\b")


def questions_about(page: Page) -> list[Question]:
    """At most ``MOST_QUESTIONS`` of those that may be asked, chosen by their hashes."""
    found: dict[str, tuple[int, Question]] = {}
    for kind, parameter, start, end in spans_of(page):
        text = page.text[start:end]
        id = f"{page.module}.{page.name}: {kind} {parameter}".strip()
        if id in found or len(text.split()) > LONGEST_ANSWER or not re.search(r"\w", text):
            continue
        number = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8])
        wording = TEMPLATES[kind][number % len(TEMPLATES[kind])]
        asked = wording.format(page=page.name, parameter=parameter)
        found[id] = number, Question(id, asked, page.text, (Answer(text, start),))
    chosen = sorted(found.values(), key=lambda entry: entry[0])[:MOST_QUESTIONS]
    return [question for _, question in chosen]


def spans_of(page: Page) -> Iterator[Span]:
    """All that may be asked of a page."""
    text = page.text
    body = text.index("\n\n") + 2
    for parameter, default in page.defaults.items():
        written = re.search(rf"[(, ]{parameter}(?:: [^=]*?)? ?= ?", text[:body])
        if default and written and text.startswith(default, written.end()):
            yield Span("default", parameter, written.end(), written.end() + len(default))

    sections = [*_SECTION.finditer(text, body)]
    prose = sections[0].start() if sections else len(text)
    for start, end in sentences(text, body, prose):
        if returns := _RETURN.match(text, start, end):
            yield Span("returns", "", returns.end(), end)
    listed = [*_LISTED.finditer(text, body, prose)]
    for item, following in zip(listed, [*listed[1:], None], strict=False):
        end = following.start() if following else prose
        if item["name"] in page.defaults:
            yield Span("purpose", item["name"], *first_sentence(text, item.end(), end))

    for section, following in zip(sections, [*sections[1:], None], strict=False):
        end = following.start() if following else len(text)
        if section[1] in ("Parameters", "Other Parameters"):
            yield from _parameters(text, section.end(), end)
        elif section[1] in ("Returns", "Yields"):
            yield from _results(text, section.end(), end)


def _parameters(text: str, start: int, end: int) -> Iterator[Span]:
    """Type and purpose of each parameter: ``name : type``, and indented what it is for."""
    for item, described in _items(text, start, end):
        for name in item["name"].split(","):
            name = name.strip(" *")
            if item["type"]:
                start_of_type, end_of_type = item.span("type")
                rest = _NO_TYPE.search(text, start_of_type, end_of_type)
                yield Span("type", name, start_of_type, rest.start() if rest else end_of_type)
            if described[0] < described[1]:
                yield Span("purpose", name, *described)


def _results(text: str, start: int, end: int) -> Iterator[Span]:
    """What is said of the first result: its description or, without one, its type."""
    for item, described in islice(_items(text, start, end), 1):
        named = item.span("type" if item["type"] else "name")
        yield Span("returns", "", *(described if described[0] < described[1] else named))


def _items(text: str, start: int, end: int) -> Iterator[tuple[re.Match[str], tuple[int, int]]]:
    """The items of a section, and where the first sentence of their descriptions stands."""
    items = [*_ITEM.finditer(text, start, end)]
    for item, following in zip(items, [*items[1:], None], strict=False):
        yield item, first_sentence(text, item.end(), following.start() if following else end)


def sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the sentences of ``text[start:end]`` begin and end, without the closing mark.

    >>> text = "Read a file.  It may be large"
    >>> [text[a:b] for a, b in sentences(text, 0, len(text))]
    ['Read a file', 'It may be large']
    """
    while start < end:
        closing = _END.search(text, start, end)
        stop = closing.start() if closing else end
        first = start + len(text[start:stop]) - len(text[start:stop].lstrip())
        last = first + len(text[first:stop].rstrip())
        if last == end and text[first:last].endswith("."):
            last -= 1
        if first < last:
            yield first, last
        start = closing.end() if closing else end


def first_sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """The first of :func:`sentences`; an empty span if there is none."""
    return next(sentences(text, start, end), (end, end))
