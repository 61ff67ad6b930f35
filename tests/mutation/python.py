"""Mutants of NumPy: of the functions that compute gradients, and of the optimisers' steps.

``+`` becomes ``-`` and the reverse, a product loses its right factor, a matrix product is
negated, a minus sign is dropped, a square becomes a cube, and a value that is returned is
zeroed and negated.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from .mutant import Mutant

# Functions that compute a gradient or a step under other names.
ALSO = {
    "minillm/models/word2vec.py": {"_train_sentences"},
    "minillm/ops/recurrence.py": {"reversed_rows"},
    "minillm/ops/scaled_dot_product_attention.py": {"_for_each_key"},
    "minillm/training/optimisers.py": {*("step", "adam_update", "clip_global_norm")},
}


def mutants(path: Path, source: str, everywhere: bool = False) -> list[Mutant]:
    """All mutants of one page, in the order of its lines.

    ``everywhere``: of all its functions, and of their conditions, too.
    """
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    text = source.encode()

    def offset(line: int, column: int) -> int:
        """Convert the parser's bytes to characters."""
        return len(text[: starts[line - 1] + column].decode())

    found = {}
    tree = ast.parse(source)
    chosen = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for function in chosen if everywhere else functions(path, tree):
        for node in (n for statement in function.body for n in ast.walk(statement)):
            all_changes = [*changes(node, source)]
            if everywhere:
                all_changes += conditions(node, source)
            for target, new, what in all_changes:
                begin = offset(target.lineno, target.col_offset)
                end = offset(target.end_lineno, target.end_col_offset)
                what = " ".join(f"{source[begin:end]}: {what}".split())
                found[begin, end, new] = Mutant(path, source, begin, end, new, what)
    return [found[key] for key in sorted(found)]


def functions(path: Path, tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield the functions that compute gradients, at any depth, by their names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (
            node.name.startswith("backward")
            or node.name.endswith(("backward", "gradients", "gradient"))
            or node.name in ALSO.get(path.as_posix(), ())
        ):
            yield node


def changes(node: ast.AST, source: str) -> Iterator[tuple[ast.AST, str, str]]:
    """Yield (node to replace, new text, description) for one node of the tree."""

    def piece(part: ast.AST) -> str:
        return ast.get_source_segment(source, part) or ""

    if isinstance(node, ast.BinOp):
        left, right = piece(node.left), piece(node.right)
        if isinstance(node.op, ast.Add | ast.Sub):
            sign = "-" if isinstance(node.op, ast.Add) else "+"
            yield node, f"(({left}) {sign} ({right}))", "sign flipped"
        elif isinstance(node.op, ast.Mult | ast.Div):
            yield node, f"({left})", "right factor dropped"
        elif isinstance(node.op, ast.Pow):
            yield node, f"(({left}) ** 3)", "cubed"
        elif isinstance(node.op, ast.MatMult):
            yield node, f"(-({piece(node)}))", "negated"
        elif isinstance(node.op, ast.BitOr):
            yield node, f"({left})", "right side dropped"
    elif isinstance(node, ast.Call) and piece(node.func) == "merge_gradients":
        if len(node.args) > 1:
            left = ", ".join(piece(part) for part in node.args[:-1])
            yield node, f"merge_gradients({left})", "last part dropped"
    elif isinstance(node, ast.AugAssign):
        other = {ast.Add: "-=", ast.Sub: "+=", ast.Mult: "/=", ast.Div: "*="}.get(type(node.op))
        if other:
            yield node, f"{piece(node.target)} {other} {piece(node.value)}", f"becomes {other}"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node, f"({piece(node.operand)})", "minus dropped"
    elif isinstance(node, ast.Return) and node.value is not None:
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        for value in values:
            if not isinstance(value, ast.Starred | ast.Constant | ast.Dict):
                yield value, f"0 * ({piece(value)})", "returned as zeros"
                yield value, f"-({piece(value)})", "returned negated"


OTHER = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}


def conditions(node: ast.AST, source: str) -> Iterator[tuple[ast.AST, str, str]]:
    """Yield changes of a comparison, a negation, an ``and`` or ``or``, and of a number."""

    def piece(part: ast.AST) -> str:
        return ast.get_source_segment(source, part) or ""

    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        other = OTHER[type(node.ops[0])]
        yield node, f"({piece(node.left)} {other} {piece(node.comparators[0])})", f"becomes {other}"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, f"({piece(node.operand)})", "not dropped"
    elif isinstance(node, ast.BoolOp):
        word = "or" if isinstance(node.op, ast.And) else "and"
        yield node, "(" + f" {word} ".join(f"({piece(v)})" for v in node.values) + ")", word
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield node, f"({piece(node)} + 1)", "one more"
