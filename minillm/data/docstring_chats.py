"""Conversations about the standard library: a set to fine-tune on that needs no download.

A function of the standard library has a name, a signature and a docstring, whose first sentence
says what it does.  Each function makes two conversations:

    What does textwrap.dedent(text) do?
    Remove any common leading whitespace from every line in `text`.

    Which function of textwrap does this? Remove any common leading whitespace from every line in
    `text`.
    textwrap.dedent(text)

A person can judge the answers.  The second question has more than one right answer, and a model
that has never seen the module can only guess a good name.

The set is read from the source; nothing is imported.  It differs from one version of Python to the
next.  It is split by module: all questions about a module are in the same part.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache

from minillm.data.conversations import Conversation
from minillm.data.docstrings import first_sentence, parsed_modules
from minillm.data.splits import split_groups

SHARE = 10  # a tenth of the modules is for validation, and a tenth for test
WORDS = (4, 30)  # of a first sentence
LONGEST_SIGNATURE = 80  # characters

NAME = "docstring-chats"  # for messages
ASKED = "What does {signature} do?"
ASKED_BACK = "Which function of {module} does this? {sentence}"


@cache
def docstring_chats() -> dict[str, list[Conversation]]:
    """The conversations of each part, "training", "validation" and "test"; it takes seconds."""
    modules: dict[str, list[Conversation]] = {}
    seen: set[str] = set()
    for module, _, tree in parsed_modules():
        public = not any(part.startswith("_") for part in module.split("."))
        if not public:
            continue
        for name, signature, sentence in functions_of(tree):
            if sentence not in seen:  # many methods have the docstring of another
                seen.add(sentence)
                modules.setdefault(module, []).extend(
                    chats_about(module, name, signature, sentence)
                )
    return split_groups(modules, SHARE)


def functions_of(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """The name, arguments and first sentence of each public function and method of a module."""
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
                    yield f"{prefix}{function.name}", arguments, sentence


def chats_about(module: str, name: str, arguments: str, sentence: str) -> list[Conversation]:
    """The two conversations about a function."""
    signature = f"{module}.{name}({arguments})"
    pairs = [
        (ASKED.format(signature=signature), sentence),
        (ASKED_BACK.format(module=module, sentence=sentence), signature),
    ]
    return [
        Conversation(
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            signature,
        )
        for question, answer in pairs
    ]
