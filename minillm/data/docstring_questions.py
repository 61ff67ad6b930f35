"""Questions about functions, answered by their docstrings: a set that needs no download.

A page is about a function of the standard library or of NumPy: its signature and its docstring.
Pages are read from the source; nothing is imported.

    open_json(path, limit=100)

    Read an object from a file.

    Parameters
    ----------
    path : str or Path
        The file to read.
    limit : int, optional
        How many bytes to read at most.

**The questions are templates**, filled in with names.  The structure of the page tells where the
answer is, which is always a part of the page:

    default     What is the default of limit in open_json?      100
    type        What type does path have?                       str or Path
    purpose     What is limit for?                              How many bytes to read at most
    returns     What does size return?                          (what follows "Return")

A set like this shows whether a reader locates answers in pages that it has never seen.  It does not
show whether it understands questions as people ask them.

The set differs from one version of Python or NumPy to the next.  It is split by module: all pages
of a module are in the same part.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from minillm.data.docstrings import parsed_modules
from minillm.data.splits import split_by_hash
from minillm.data.squad import Answer, Question

SHARE = 10  # a tenth of the modules is for validation, and a tenth for test
WORDS = (15, 250)  # of a docstring, without its examples
LONGEST_ANSWER = 40  # words
MOST_QUESTIONS = 8  # about one page

TEMPLATES = {
    "default": ("What is the default of {parameter} in {page}?", "What is {parameter} by default?"),
    "type": ("What type does {parameter} have?", "Which type does {page} expect for {parameter}?"),
    "purpose": ("What is {parameter} for?", "What is the meaning of {parameter} in {page}?"),
    "returns": ("What does {page} return?", "What is the result of {page}?"),
}

_REST = re.compile(r"^(See Also|Notes?|References|Examples?)\n-+ *$|^ *>>> ", re.MULTILINE)
_ITEM = re.compile(
    r"^(?P<parameter>\w+) : (?P<type>.+?)(?:, optional.*)?\n"
    r" {4,}(?P<purpose>(?:(?!\n *\n|\n\w)[^.:])+)",
    re.MULTILINE,
)
_RETURN = re.compile(r"^ *Returns? (?P<returns>[^.:\n][^.:]*)", re.MULTILINE)


class Span(NamedTuple):
    """A piece of a page that answers a question."""

    kind: str
    parameter: str
    start: int
    end: int


class Page(NamedTuple):
    """A function: its signature and docstring, and the places of the default values."""

    name: str
    text: str
    defaults: list[Span]


class DocstringQuestions:
    """The built-in set: questions in three parts."""

    def __init__(self) -> None:
        modules: dict[str, list[Question]] = {}
        seen: set[str] = set()
        for module, tree in parsed_modules():
            for page in pages_of(tree):
                body = page.text.partition("\n")[2]
                if body not in seen:  # many methods have the docstring of another
                    seen.add(body)
                    modules.setdefault(module, []).extend(questions_about(page, module))
        names = [name for name, questions in modules.items() if questions]
        tenth = len(names) // SHARE
        self.parts = {
            part: [question for name in sorted(members) for question in modules[name]]
            for part, members in split_by_hash(names, tenth, tenth).items()
        }

    def questions(self, part: str) -> list[Question]:
        """Return the questions of a part."""
        return self.parts[part]


def pages_of(tree: ast.Module) -> Iterator[Page]:
    """Yield the pages of a module's public functions and methods with long enough docstrings."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        docstring = ast.get_docstring(node) or ""
        rest = _REST.search(docstring)
        docstring = docstring[: rest.start() if rest else None].rstrip()
        if WORDS[0] <= len(docstring.split()) <= WORDS[1]:
            signature, defaults = _signature(node.name, node.args)
            yield Page(node.name, f"{signature})\n\n{docstring}", defaults)


def _signature(name: str, arguments: ast.arguments) -> tuple[str, list[Span]]:
    """Return the signature up to the last parameter, and the places of the default values."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    parameters = [*positional, *arguments.kwonlyargs]
    values = [*missing, *arguments.defaults, *arguments.kw_defaults]
    text, defaults = f"{name}(", []
    for parameter, value in zip(parameters, values, strict=True):
        text += f"{'' if text.endswith('(') else ', '}{parameter.arg}"
        if value is not None:
            start, text = len(text) + 1, f"{text}={ast.unparse(value)}"
            defaults.append(Span("default", parameter.arg, start, len(text)))
    return text, defaults


def spans_of(page: Page) -> Iterator[Span]:
    """Yield all possible answers of a page."""
    yield from page.defaults
    for item in _ITEM.finditer(page.text):
        for kind in ("type", "purpose"):
            yield Span(kind, item["parameter"], *item.span(kind))
    for match in _RETURN.finditer(page.text):
        yield Span("returns", "", *match.span("returns"))


def questions_about(page: Page, module: str) -> list[Question]:
    """Return at most ``MOST_QUESTIONS`` questions about a page, chosen by their hashes."""
    questions: dict[str, tuple[int, Question]] = {}
    for kind, parameter, start, end in spans_of(page):
        text = page.text[start:end].rstrip()
        id = f"{module}.{page.name}: {kind} {parameter}".strip()
        if id in questions or len(text.split()) > LONGEST_ANSWER or not re.search(r"\w", text):
            continue
        number = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8])
        wording = TEMPLATES[kind][number % len(TEMPLATES[kind])]
        question = wording.format(page=page.name, parameter=parameter)
        questions[id] = number, Question(id, question, page.text, (Answer(text, start),))
    chosen = sorted(questions.values(), key=lambda entry: entry[0])[:MOST_QUESTIONS]
    return [question for _, question in chosen]
