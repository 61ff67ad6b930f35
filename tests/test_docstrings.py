"""The mood of docstrings: a noun phrase for the result, or an imperative verb for an action."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# "The number of rows", not "How many rows"; "Write the file", not "Writes the file".
WRONG = re.compile(
    r"(What|Those|That|Which|How|Where|When|If|It|There|Used|Helper|Returns?"
    r"|Gets?|Has|Does|Is|Are|Takes|Gives|Makes|Computes|Checks|Reads|Writes|Yields|Calculates"
    r"|This (function|method|class))\b"
)


def docstrings(path):
    """The docstrings of the functions and classes of a file, each with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def test_a_docstring_begins_with_its_noun_or_with_an_imperative():
    found = [pair for path in ROOT.glob("minillm/**/*.py") for pair in docstrings(path)]
    assert len(found) > 2000
    wrong = [f"{place}: {text.splitlines()[0]}" for place, text in found if WRONG.match(text)]
    assert wrong == []
