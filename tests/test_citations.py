"""Every file, module and name that the source or a page cites exists."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "minillm"
SOURCES = [p for e in ("py", "pyx", "pxi", "pxd", "h") for p in PACKAGE.rglob(f"*.{e}")]
PAGES = [*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FOLDERS = {p.name for root in (ROOT, PACKAGE) for p in root.glob("[!.]*") if p.is_dir()}
FOLDERS -= {"build", "dist"}
FILES = {p.name for p in ROOT.iterdir()}
FILES |= {p.name for folder in FOLDERS for p in ROOT.glob(f"{folder}/**/*.*")}

# Files that a reader is to create or that another project has, and names with a dot in them.
EXAMPLES = {
    *("x.py", "test_x.py", "mine.py", "name.py", "NAME.py", "chapterNN.py", "NN-name.md"),
    *("X.h", "X.pxi", "X.pyx", "topic.pyx", "pyconfig.h", "prefix.h", "minillm._kernels._matmul"),
    *("decoder.h", "exercises/linear.py", "exercises/square.py", "docs/gguf.md"),
}

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")
DOTTED = re.compile(r"`(minillm(?:\.\w+)+)")
PATH = re.compile(r"(?<![\w./-])((?:[\w-]+/)+[\w-]+\.(?:pyx?|px[id]|h|md))\b(?:: ([\w.]+)[`\"])?")
FILE = re.compile(r"`([\w-]+\.(?:pyx?|px[id]|h))`")


@cache
def names(path):
    """Names that a module, or any module of a package, defines or imports."""
    files = path.parent.glob("*.py") if path.name == "__init__.py" else [path]
    nodes = [
        node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]
    found = {a.asname or a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    found |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    found |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found | {
        n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
    }


def dotted(name):
    """Whether a name such as minillm.runs.run.Run.look exists."""
    at, parts = PACKAGE, name.split(".")[1:]
    while parts and (at / parts[0]).is_dir():
        at /= parts.pop(0)
    file = at / "__init__.py"
    if parts and (at / f"{parts[0]}.py").exists():
        file = at / f"{parts.pop(0)}.py"
    return set(parts) <= names(file)


def stale(text, path):
    """Citations in a text without anything that they cite."""
    for name in ROLE.findall(text):
        if not name.startswith("minillm"):  # of this module, or of one next to it
            near = path.parent / "__init__.py" if path.parent != PACKAGE else path
            if not set(name.split(".")) <= names(near) | {p.stem for p in path.parent.glob("*.py")}:
                yield name
    for name in {*ROLE.findall(text), *DOTTED.findall(text)}:
        if name.startswith("minillm.") and name not in EXAMPLES and not dotted(name):
            yield name
    for cited, name in PATH.findall(text):
        if cited.split("/")[0] not in FOLDERS or {cited, cited.split("/")[-1]} & EXAMPLES:
            continue
        file = next((f for f in (ROOT / cited, PACKAGE / cited) if f.exists()), None)
        if file is None:
            yield cited
        elif name and file.suffix == ".py" and not set(name.split(".")) <= names(file):
            yield f"{cited}: {name}"
    for name in FILE.findall(text):
        if name not in EXAMPLES | FILES:
            yield name


def test_every_citation_is_of_something_that_exists():
    assert len(SOURCES) > 300
    assert len(PAGES) > 40
    found = {
        str(p.relative_to(ROOT)): sorted(stale(p.read_text(encoding="utf-8"), p))
        for p in (*SOURCES, *PAGES)
    }
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_contributing_tells_the_layers_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in contracts["tool"]["importlinter"]["contracts"]
        if contract["name"] == "imports only run downwards"
    )
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    told = [set(re.findall(r"`(\w+)`", row)) for row in rows]
    assert told == [set(re.findall(r"minillm\.(\w+)", layer)) for layer in layers]
