"""Break every backward on purpose, one small change at a time, and see a test fail.

    python tests/mutants.py                       all files
    python tests/mutants.py minillm/ops/linear.py these

In each function that is a backward, every ``+`` becomes ``-`` and the reverse, every
product loses its right factor, every matrix product is negated, every minus sign is
dropped, every square becomes a cube, and every gradient that is returned is zeroed and
negated.  Each such mutant is written into a copy of the project, and the tests of that
file are run on it.  A mutant that they do not notice is printed; the exit status is 1 if
there is any.
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("minillm/ops", "minillm/_kernels", "minillm/layers", "minillm/models")


def backwards(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Functions that compute gradients: by their name, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (
            node.name.endswith(("backward", "gradients", "gradient"))
            or node.name == "reversed_rows"
        ):
            yield node


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, what was done, the whole source with that change)."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    text = source.encode()

    def at(line: int, column: int) -> int:
        return starts[line - 1] + column

    def replace(node: ast.AST, new: str, what: str) -> tuple[int, str, str]:
        begin = at(node.lineno, node.col_offset)
        end = at(node.end_lineno, node.end_col_offset)
        mutated = text[:begin] + new.encode() + text[end:]
        return node.lineno, what, mutated.decode()

    def piece(node: ast.AST) -> str:
        return ast.get_source_segment(source, node) or ""

    seen = set()
    for function in backwards(tree):
        for node in (n for statement in function.body for n in ast.walk(statement)):
            if (
                not hasattr(node, "lineno")
                or (key := (node.lineno, node.col_offset, type(node))) in seen
            ):
                continue
            if isinstance(node, ast.BinOp):
                left, right = piece(node.left), piece(node.right)
                if isinstance(node.op, ast.Add | ast.Sub):
                    new = "-" if isinstance(node.op, ast.Add) else "+"
                    yield replace(node, f"({left}) {new} ({right})", f"{piece(node)}: sign flipped")
                elif isinstance(node.op, ast.Mult | ast.Div):
                    yield replace(node, f"({left})", f"{piece(node)}: right factor dropped")
                elif isinstance(node.op, ast.Pow):
                    yield replace(node, f"({left}) ** 3", f"{piece(node)}: cubed")
                elif isinstance(node.op, ast.MatMult):
                    yield replace(node, f"-({piece(node)})", f"{piece(node)}: negated")
                elif isinstance(node.op, ast.BitOr):
                    yield replace(node, f"({left})", f"{piece(node)}: right side dropped")
            elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
                new = "-=" if isinstance(node.op, ast.Add) else "+="
                target, value = piece(node.target), piece(node.value)
                yield replace(node, f"{target} {new} {value}", f"{piece(node)}: sign flipped")
            elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                yield replace(node, f"({piece(node.operand)})", f"{piece(node)}: minus dropped")
            elif isinstance(node, ast.Return) and node.value is not None:
                is_tuple = isinstance(node.value, ast.Tuple)
                for value in node.value.elts if is_tuple else [node.value]:
                    yield replace(value, f"0 * ({piece(value)})", f"return {piece(value)}: zeroed")
                    yield replace(value, f"-({piece(value)})", f"return {piece(value)}: negated")
            else:
                continue
            seen.add(key)


def tests_of(path: Path) -> list[str]:
    """The tests that must notice a change in this file, the quickest to do so first."""
    own = [f"tests/{room}/test_{path.stem}.py" for room in ("layers", "models", "ops")]
    own = [test for test in own if (ROOT / test).exists()]
    if path.parent.name in ("layers", "models"):
        return own or [f"tests/{path.parent.name}"]
    return [*own, "tests/ops/test_gradients.py", "tests/ops/test_properties.py", "-k", "not cython"]


def survives(copy: Path, path: Path, mutated: str) -> bool:
    """Whether all tests pass on the project with this source in place of the file's."""
    target = copy / path
    original = target.read_text()
    target.write_text(mutated)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests_of(path)],
            cwd=copy,
            capture_output=True,
            timeout=300,
            env={**os.environ, "MINILLM_KERNELS": "numpy"},
        )
        return done.returncode == 0
    except subprocess.TimeoutExpired:  # it no longer ends: that is noticed too
        return False
    finally:
        target.write_text(original)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    files = parser.parse_args().files or [
        p.relative_to(ROOT) for folder in FOLDERS for p in sorted((ROOT / folder).glob("*.py"))
    ]
    tried, survivors = 0, []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(
            ROOT,
            copy,
            ignore=shutil.ignore_patterns(".git", ".venv", "build", "*.so", "runs", ".*cache"),
        )
        for path in files:
            for line, what, mutated in mutants((ROOT / path).read_text()):
                tried += 1
                alive = survives(copy, path, mutated)
                print(f"{'SURVIVED' if alive else 'killed':9}{path}:{line}  {what}", flush=True)
                if alive:
                    survivors.append(f"{path}:{line}  {what}")
    print(f"{tried} mutants, {tried - len(survivors)} killed, {len(survivors)} survived")
    for survivor in survivors:
        print("survived:", survivor)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
