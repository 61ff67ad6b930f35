"""Docstrings and their summary lines: a summarisation task that needs no download."""

import ast
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from minillm.data.pairs import Pair
from minillm.data.splits import split_by_hash

_SKIPPED = {"test", "tests", "idle_test", "site-packages", "lib2to3", "__pycache__"}


class Docstrings:
    """The body of a docstring to its summary line, both in lower case.

    From the source of the standard library and of NumPy, without their tests; nothing is imported.
    The summary is the first paragraph, of 3 to 20 words.  The body is the rest, of at least 8
    words, cut after 50.  Only the first of equal bodies is kept.  A hash of the body assigns a
    tenth to validation and a tenth to test.  The set differs from one version of Python or NumPy to
    the next.
    """

    def __init__(self) -> None:
        seen: dict[str, str] = {}
        for docstring in (text for _, tree in parsed_modules() for text in _docstrings_of(tree)):
            pair = _summarised(docstring)
            if pair:
                seen.setdefault(*pair)
        tenth = len(seen) // 10
        self.parts = split_by_hash(seen.items(), tenth, tenth, key=lambda pair: pair[0])

    def pairs(self, part: str) -> list[Pair]:
        """(body, summary)."""
        return self.parts[part]


def parsed_modules() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the standard library and of NumPy, by name, without their tests."""
    roots = [Path(sysconfig.get_paths()["stdlib"])]
    numpy = find_spec("numpy")
    if numpy and numpy.submodule_search_locations:
        roots += map(Path, numpy.submodule_search_locations)
    for number, root in enumerate(roots):
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if _SKIPPED.isdisjoint(parts) and (tree := _parsed(path)):
                yield ".".join([*(["numpy"] if number else []), *parts]), tree


def _parsed(path: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in other people's strings
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _docstrings_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "add_newdoc":
            # NumPy documents its functions in C by calls of add_newdoc.
            for argument in node.args[2:]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield inspect.cleandoc(argument.value)


def _summarised(docstring: str) -> Pair | None:
    """(body, summary) of a docstring that has both, of a suitable length."""
    summary, _, body = docstring.strip().partition("\n\n")
    words = body.lower().split()
    summary = " ".join(summary.lower().split())
    if len(words) < 8 or not 3 <= len(summary.split()) <= 20:
        return None
    return " ".join(words[:50]), summary
