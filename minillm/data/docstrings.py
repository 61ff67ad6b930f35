"""Functions, their summaries, and conversations about them: two sets that need no download.

The docstring of a function or a class begins with a sentence that says what it does.  This sentence
is the summary, and the rest of the source is to be summarised: the head, the rest of the docstring
and the code.  The source is given as words, because names are made of words:

    class ZipFile:
        def seekable(self):
            '''Whether the position can be changed.'''
            self._check_open()
            return self._file.seekable()

    Zip File def seekable self. self check open. return self file seekable.
    Whether the position can be changed.

Four of ten words of a summary are in its source, and one of twelve pairs of words: copying does not
help much.  The first ten words of the sources in the test part have a ROUGE-L of 0.18, the best of
the sentences and lines 0.26.

A conversation asks what a function of the standard library does, or which function does this:

    What does textwrap.dedent(text) do?
    Remove any common leading whitespace from every line in `text`.

A person can judge the answers.  The second question has more than one right answer, and a model
that has never seen the module can only guess a good name.

Both sets are read from the source, and nothing is imported.  They differ from one version of Python
to the next.

Source: LeClair and McMillan (2019), "Recommendations for datasets for source code summarization",
for names split into words, and for a split of the data that separates projects.  Here it separates
modules, because functions of one module often have similar summaries.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.util import decode_source

from minillm.data.conversations import Conversation, Message
from minillm.data.pairs import Pair
from minillm.data.python_texts import modules
from minillm.data.splits import Split, split_groups
from minillm.errors import InputError

SHARE = 10  # a tenth of the modules is for validation, and a tenth for test
SOURCE_WORDS = (8, 100)  # a shorter source says too little; a longer one is cut
SUMMARY_WORDS = (3, 30)

WORDS = (4, 30)  # of a first sentence
LONGEST_SIGNATURE = 80  # characters

NAME = "docstring-chats"  # for messages

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MARKUP = re.compile(r":[a-z:]+:(?=`)|`|(?<!\w)\*+(?=\w)|(?<=\w)\*+(?!\w)|(?<=\w)\(\)")
# Examples, directives and titles of sections end the text of a docstring.
_APPARATUS = re.compile(r"^\s*(?:>>>|\.\. |\S.*\n\s*[-=~]{3,}\s*$)|::$", re.MULTILINE)
# A sentence of English: neither names such as get_code and TarFile, nor formulas.
_ENGLISH = re.compile(r"(?!.*(?:_|[a-z][A-Z]|\w\(| -|--| :|\.\.))[\w ,;:'\"()/.!?-]+")


def docstrings() -> Split[Pair]:
    """The source of a function or a class, as words, to the first sentence of its docstring.

    From the standard library and NumPy, without their tests; nothing is imported.  The summary is a
    sentence of 3 to 30 words without names and formulas.  The source has at least 8 words, and is
    cut after 100.  Only the first of equal summaries is kept.  A hash of the module's name assigns
    a tenth of the modules to validation and a tenth to test.  The set differs from one version of
    Python or NumPy to the next.  InputError if there is no source.
    """
    modules: dict[str, list[Pair]] = {}
    seen: set[str] = set()
    for name, source, tree in parsed_modules("numpy"):
        for pair in summarised_definitions(source, tree):
            letters = re.sub(r"\W+", " ", pair[1].lower())
            if letters not in seen:
                seen.add(letters)
                modules.setdefault(name, []).append(pair)
    if not modules:
        raise InputError("docstrings: this Python has no source files: expected a FILE of pairs")
    return Split("docstrings", split_groups(modules, SHARE))


# --- modules -------------------------------------------------------------------------


def parsed_modules(*packages: str) -> Iterator[tuple[str, str, ast.Module]]:
    """The name, source and tree of each of the :func:`modules` that can be read."""
    for name, path in modules(*packages):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about invalid escapes in other people's strings
                source = decode_source(path.read_bytes())
                tree = ast.parse(source)
        except (OSError, SyntaxError, ValueError):
            continue
        yield name, source, tree


# --- definitions ---------------------------------------------------------------------


def summarised_definitions(source: str, tree: ast.Module) -> Iterator[Pair]:
    """The source, as words, and the summary of each function and class that has a good one."""
    lines = source.split("\n")
    documented = [
        (owner, node, docstring)
        for owner, node in _definitions(tree)
        if (docstring := ast.get_docstring(node)) and node.body[0].lineno > node.lineno
    ]
    for _, node, _ in documented:  # the code of a class is without the docstrings of its methods
        first, last = _lines_of(node.body[0])
        lines[first:last] = [""] * (last - first)
    for owner, node, docstring in documented:
        sentence = first_sentence(docstring)
        summary = _MARKUP.sub("", sentence).rstrip(".!") + "."
        least, most = SUMMARY_WORDS
        if least <= len(summary.split()) <= most and _ENGLISH.fullmatch(summary):
            first, last = _lines_of(node)
            body = node.body[0].lineno - 1
            head = _as_words(" ".join([owner, *lines[first:body]]))
            code = [_as_words(line) for line in lines[body:last]]
            words = " ".join([head, _after(sentence, docstring), *code]).split()
            if len(words) >= SOURCE_WORDS[0]:
                yield " ".join(words[: SOURCE_WORDS[1]]), summary


def _definitions(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, _Definition]]:
    """The functions and classes of a module, nested ones included, each after its class's name."""
    for node in [*getattr(tree, "body", ()), *getattr(tree, "orelse", ())]:
        if isinstance(node, _Definition):
            yield owner, node
            yield from _definitions(node, node.name if isinstance(node, ast.ClassDef) else "")
        else:
            yield from _definitions(node, owner)


def _lines_of(node: ast.stmt) -> tuple[int, int]:
    assert node.end_lineno is not None  # there is one in every tree that the parser made
    return node.lineno - 1, node.end_lineno


def _as_words(line: str) -> str:
    """The words of a line of code, with a full stop; the empty string if there are none.

    >>> _as_words("    return self.read_all(HTTPError, 16)")
    'return self read all HTTP Error 16.'
    """
    words = _WORD.findall(line)
    return " ".join(words) + "." if words else ""


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring, in one line.

    >>> first_sentence("Return the size\\nof a file.  Raise OSError.")
    'Return the size of a file.'
    """
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph)[0]


def _after(sentence: str, docstring: str) -> str:
    """The text of a docstring after its first sentence, without examples and sections."""
    text = _MARKUP.sub("", _APPARATUS.split(docstring)[0])
    return " ".join(text.split())[len(_MARKUP.sub("", sentence)) :]


# --- conversations --------------------------------------------------------------------


@cache
def docstring_chats() -> dict[str, list[Conversation]]:
    """The conversations of each part, "training", "validation" and "test"; it takes seconds."""
    modules: dict[str, list[Conversation]] = {}
    seen: set[str] = set()
    for module, _, tree in parsed_modules():
        if any(part.startswith("_") for part in module.split(".")):
            continue
        for function, sentence in functions_of(tree):
            if sentence in seen:  # many methods have the docstring of another
                continue
            seen.add(sentence)
            signature = f"{module}.{function}"
            for question, answer in (
                (f"What does {signature} do?", sentence),
                (f"Which function of {module} does this? {sentence}", signature),
            ):
                said = [("user", question), ("assistant", answer)]
                messages: list[Message] = [
                    {"role": role, "content": content} for role, content in said
                ]
                modules.setdefault(module, []).append(Conversation(messages, signature))
    return split_groups(modules, SHARE)


def functions_of(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The signature and first sentence of each public function and method of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            functions = [(f"{node.name}.", child) for child in node.body]
        else:
            functions = [("", node)]
        for prefix, function in functions:
            if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
                sentence = first_sentence(ast.get_docstring(function) or "")
                arguments = re.sub(r"^self(, |$)", "", ast.unparse(function.args))
                words = len(sentence.split())
                if WORDS[0] <= words <= WORDS[1] and len(arguments) <= LONGEST_SIGNATURE:
                    yield f"{prefix}{function.name}({arguments})", sentence
