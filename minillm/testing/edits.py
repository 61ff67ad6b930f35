"""Small changes of an expression: what is often forgotten, or written instead of something else."""

import ast
import itertools
from collections.abc import Iterator
from typing import Any

Edit = tuple[ast.AST, ast.AST]  # a part of the expression, and what stands in its place

_INSTEAD = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
_CALLS = {"sum": "mean", "mean": "sum", "max": "min", "cos": "sin", "sin": "cos"}


def edits(expression: ast.expr, names: list[str]) -> Iterator[tuple[int, ast.expr]]:
    """The expression with one change, for each change, and how far-fetched it is, from 0 on.

    ``names`` may stand in it.
    """
    parts = [part for part in ast.walk(expression) if isinstance(part, ast.expr)]
    callees = {id(part.func) for part in parts if isinstance(part, ast.Call)}
    values = [part for part in parts if id(part) not in callees]
    for rank, changes in enumerate((_minus, _operators, _details, _signs, _factors, _terms)):
        for part in values:
            for new in changes(part, names):
                yield rank, _with(expression, part, new)


def _minus(part: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    if isinstance(part, ast.UnaryOp):
        yield part.operand


def _operators(part: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    if isinstance(part, ast.BinOp):
        if instead := _INSTEAD.get(type(part.op)):
            yield ast.BinOp(part.left, instead(), part.right)
        yield part.left
        yield part.right
        yield ast.BinOp(part.right, part.op, part.left)


def _details(part: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    """Another power, number, name, order of axes, or comparison."""
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow):
        yield from (_power(part.left, power) for power in (2, 3))
    elif isinstance(part, ast.Constant) and isinstance(part.value, bool):
        yield ast.Constant(not part.value)
    elif isinstance(part, ast.Constant) and isinstance(part.value, int):
        yield from (ast.Constant(part.value + more) for more in (-1, 1, -2, 2))
        yield ast.Constant(-part.value)
    elif isinstance(part, ast.Constant) and isinstance(part.value, float):
        yield from map(_name, names)
    elif isinstance(part, ast.Compare) and len(part.ops) == 1:
        for op in (ast.Lt(), ast.LtE(), ast.Gt(), ast.GtE()):
            yield ast.Compare(part.left, [op], part.comparators)
    elif isinstance(part, ast.Attribute) and part.attr == "T":
        yield part.value
    elif isinstance(part, (ast.Name, ast.Call, ast.Subscript, ast.Attribute)):
        yield ast.Attribute(part, "T", ast.Load())
        yield _power(part, 2)
        yield ast.BinOp(ast.Constant(1), ast.Sub(), part)
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult):
        yield ast.Attribute(part, "T", ast.Load())
    if isinstance(part, (ast.List, ast.Tuple)):
        for i, j in itertools.combinations(range(len(part.elts)), 2):
            swapped = list(part.elts)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            yield type(part)(swapped, part.ctx)
    if isinstance(part, ast.Name):
        yield from (_name(name) for name in names if name != part.id)
    if isinstance(part, ast.Call):
        if isinstance(part.func, ast.Attribute) and part.func.attr in _CALLS:
            other = ast.Attribute(part.func.value, _CALLS[part.func.attr], ast.Load())
            yield ast.Call(other, part.args, part.keywords)
        yield from (a for a in part.args if not isinstance(a, ast.Starred))


def _signs(part: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    if not isinstance(part, (ast.UnaryOp, ast.Tuple, ast.Slice, ast.Constant)):
        yield ast.UnaryOp(ast.USub(), part)


def _factors(part: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    if isinstance(part, (ast.BinOp, ast.Name, ast.Call, ast.Subscript, ast.Attribute)):
        for factor in (*map(_name, names), *map(ast.Constant, (2, 3, 0.5))):
            yield ast.BinOp(part, ast.Mult(), factor)
            yield ast.BinOp(part, ast.Div(), factor)


def _terms(part: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    if isinstance(part, (ast.BinOp, ast.Name, ast.Call)):
        for name in map(_name, names):
            yield ast.BinOp(part, ast.Add(), name)
            yield ast.BinOp(part, ast.Sub(), name)
            for less in (name, _power(name, 2)):
                rest = ast.BinOp(ast.Constant(1), ast.Sub(), less)
                yield ast.BinOp(part, ast.Mult(), rest)


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _power(base: ast.expr, power: int) -> ast.expr:
    return ast.BinOp(base, ast.Pow(), ast.Constant(power))


def _with(expression: Any, part: ast.AST, new: ast.AST) -> Any:
    """A copy of a tree with another part."""
    if expression is part:
        return new
    if isinstance(expression, list):
        return [_with(e, part, new) for e in expression]
    if not isinstance(expression, ast.AST):
        return expression
    fields = {name: _with(value, part, new) for name, value in ast.iter_fields(expression)}
    return type(expression)(**fields)
