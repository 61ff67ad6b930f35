"""A frozen set of wrong backwards, by which gradient checkers are compared.

``ops.py`` has right ops, ``cases.py`` their inputs.  A bug is one change of the text of
``ops.py``: those in ``mutants.jsonl`` were made by the machinery of ``tests/mutation``, those in
``by_hand.py`` by hand.  ``right.py`` has right ops at difficult places.
``python -m benchmarks.bugs mine.py:check`` scores a checker.  README.md is for its makers: the
folder needs nothing else of the repository.

The set was committed before any checker had seen it.  A test holds its digest.
"""

import ast
import functools
import hashlib
import json
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from . import by_hand, ops
from .cases import CASES

HERE = Path(__file__).parent
FILES = ("ops.py", "cases.py", "by_hand.py", "mutants.jsonl", "right.py")
SOURCE = (HERE / "ops.py").read_text(encoding="utf-8")
LINES = SOURCE.splitlines(keepends=True)
# The first and the last line of each function, counted from 1.
SPANS = {
    node.name: (node.lineno, node.end_lineno)
    for node in ast.parse(SOURCE).body
    if isinstance(node, ast.FunctionDef)
}

Op = Callable[..., tuple[Any, Callable]]


@dataclass(frozen=True)
class Bug:
    """One change of ``ops.py``: the first ``old`` from a line on becomes ``new``."""

    op: str  # whose backward is wrong
    kind: str
    what: str
    line: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.op}, line {self.line}: {self.what}"

    @functools.cached_property
    def function(self) -> str:
        """The function whose text changes: the op, or one that it calls."""
        return next(name for name, (a, b) in SPANS.items() if a <= self.line <= b)

    def text(self) -> str:
        """The source of the function with its wrong line."""
        first, last = SPANS[self.function]
        before, after = (
            "".join(LINES[first - 1 : self.line - 1]),
            "".join(LINES[self.line - 1 : last]),
        )
        if self.old not in after:
            raise ValueError(f"{self}: expected {self.old!r}, found another text")
        return before + after.replace(self.old, self.new, 1)

    def wrong_line(self) -> int:
        """The line of ``text()`` that is wrong, counted from 1."""
        right = LINES[SPANS[self.function][0] - 1 :]
        pairs = enumerate(zip(right, self.text().splitlines(keepends=True), strict=False), start=1)
        return next(number for number, (old, new) in pairs if old != new)

    def right_op(self) -> Op:
        """The op as it should be."""
        return right_op(self.op)

    def arguments(self, seed: int) -> tuple[Any, ...]:
        """The inputs of the op: the same for its right and its wrong backwards."""
        return arguments(self.op, seed)

    def shows(self, seed: int) -> bool:
        """Whether a caller sees other numbers at these inputs."""
        return shows(self, seed)

    def wrong_op(self) -> Op:
        """The op with its wrong backward.

        Its wrong function has ``text()`` as its source, in a file whose name is ``str(self)``.
        """
        # All functions of the page, with globals of their own: the change reaches none of the
        # right ones.
        names: dict[str, Any] = dict(vars(ops))
        for name in SPANS:
            code, defaults = getattr(ops, name).__code__, getattr(ops, name).__defaults__
            names[name] = FunctionType(code, names, name, defaults)
        text, file = self.text(), str(self)
        linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
        exec(compile(text, file, "exec"), names)
        return names[self.op]


def bugs() -> list[Bug]:
    """The whole set, in the order of the ops' lines."""
    lines = (HERE / "mutants.jsonl").read_text(encoding="utf-8").splitlines()
    found = [Bug(kind="mutant", **json.loads(line)) for line in lines]
    found += [_located(bug) for bug in by_hand.BUGS]
    return sorted(found, key=lambda bug: (SPANS[bug.op], bug.kind, bug.line, bug.what))


def _located(bug: by_hand.ByHand) -> Bug:
    """Find the line of a bug that was written by hand."""
    first, last = SPANS[bug.inside or bug.op]
    text = "".join(LINES[first - 1 : last])
    if text.count(bug.old) != 1:
        raise ValueError(
            f"{bug.op}: {bug.what}: expected {bug.old!r} once in {bug.inside or bug.op}"
        )
    line = first + text[: text.index(bug.old)].count("\n")
    return Bug(bug.op, bug.kind, bug.what, line, bug.old, bug.new)


def right_op(name: str) -> Op:
    """An op as it should be."""
    return getattr(ops, name)


def arguments(op: str, seed: int) -> tuple[Any, ...]:
    """The inputs of an op: the same for its right and its wrong backwards."""
    return CASES[op](np.random.default_rng(seed))


def digest() -> str:
    """The digest of the set."""
    texts = [(HERE / name).read_text(encoding="utf-8") for name in FILES]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


# --- whether a bug shows ----------------------------------------------------------------------


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


@np.errstate(all="ignore")
def behaviour(op: Op, args: tuple[Any, ...], seed: int) -> list[Any]:
    """All that a caller sees of a backward.

    These are its gradients at a random upstream gradient, in a second call and with None for each
    output, and the arguments that it has changed.  An error ends the list.
    """
    args = tuple(np.array(a) for a in args)
    seen: list[Any] = []
    try:
        result, backward = op(*args)
        outputs = as_tuple(result)
        rng = np.random.default_rng((seed, 1))  # not the one of the inputs
        upstream = [np.array(rng.standard_normal(np.shape(y))) for y in outputs]
        for _ in range(2):
            seen += [np.array(gradient) for gradient in as_tuple(backward(*upstream))]
        seen += [*map(np.array, outputs), *args, *upstream]
        for k in range(len(outputs) if len(outputs) > 1 else 0):
            absent = [None if j == k else dy for j, dy in enumerate(upstream)]
            seen += [np.array(gradient) for gradient in as_tuple(backward(*absent))]
    except Exception as error:
        seen.append(type(error).__name__)
    return seen


@functools.cache
def _right_behaviour(op: str, seed: int) -> list[Any]:
    return behaviour(right_op(op), arguments(op, seed), seed)


def shows(bug: Bug, seed: int) -> bool:
    """Whether a caller sees other numbers at these inputs, by more than 1e-6 of an array.

    A backward that raises an error in an ordinary call needs no checker, and does not count.
    """
    right = _right_behaviour(bug.op, seed)
    wrong = behaviour(bug.wrong_op(), arguments(bug.op, seed), seed)
    if isinstance(wrong[0], str):
        return False
    return len(right) != len(wrong) or any(map(_differ, right, wrong))


def _differ(right: Any, wrong: Any) -> bool:
    if isinstance(wrong, str) or right.shape != wrong.shape or right.dtype != wrong.dtype:
        return True
    right, wrong = right.astype(float), wrong.astype(float)  # booleans have no difference
    gap, size = np.max(np.abs(wrong - right), initial=0), np.max(np.abs(right), initial=0)
    return not gap <= 1e-6 * size
