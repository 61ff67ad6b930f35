"""What no linter knows of the source: citations, docstrings, examples, messages."""

import ast
import contextlib
import doctest
import importlib
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "minillm"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*MODULES, *(p for e in ("pyx", "pxi", "pxd", "h") for p in PACKAGE.rglob(f"*.{e}"))]
PAGES = [*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@cache
def text_of(path):
    return path.read_text(encoding="utf-8")


def place(path):
    return str(path.relative_to(ROOT))


def test_there_is_much_to_look_at():
    assert len(MODULES) > 200
    assert len(SOURCES) > 300
    assert len(PAGES) > 40


# --- citations: every file, module and name that the source or a page cites exists ----------------

FOLDERS = {p.name for root in (ROOT, PACKAGE) for p in root.glob("[!.]*") if p.is_dir()}
FOLDERS -= {"build", "dist"}
FILES = {p.name for p in ROOT.iterdir()}
FILES |= {p.name for folder in FOLDERS for p in ROOT.glob(f"{folder}/**/*.*")}

# Files that a reader is to create or that another project has, and names with a dot in them.
EXAMPLES = {
    *("x.py", "mine.py", "name.py", "NAME.py", "chapterNN.py", "NN-name.md"),
    *("X.h", "X.pxi", "X.pyx", "topic.pyx", "pyconfig.h", "prefix.h", "minillm._kernels._matmul"),
    *("exercises/linear.py", "docs/gguf.md"),
}

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")
DOTTED = re.compile(r"`(minillm(?:\.\w+)+)")
PATH = re.compile(r"(?<![\w./-])((?:[\w-]+/)+[\w-]+\.(?:pyx?|px[id]|h|md))\b(?:: ([\w.]+)[`\"])?")
FILE = re.compile(r"`([\w-]+\.(?:pyx?|px[id]|h))`")


@cache
def names(file):
    """Names that a module defines or imports."""
    found = set()
    for n in ast.walk(ast.parse(text_of(file))):
        match n:
            case ast.ImportFrom():
                found.update(a.asname or a.name for a in n.names)
            case ast.FunctionDef() | ast.ClassDef():
                found.add(n.name)
            case ast.Name(ctx=ast.Store()):
                found.add(n.id)
            case ast.Attribute(ctx=ast.Store()):
                found.add(n.attr)
    return found


def has(file, name):
    """Whether a module, or any module of a package, has the parts of a dotted name."""
    missing = set(name.split("."))
    for other in [file, *(file.parent.glob("*.py") if file.name == "__init__.py" else ())]:
        if missing:
            missing -= names(other)
    return not missing


def dotted(name):
    """Whether a name such as minillm.runs.run.Run.look exists."""
    at, parts = PACKAGE, name.split(".")[1:]
    while parts and (at / parts[0]).is_dir():
        at /= parts.pop(0)
    file = at / "__init__.py"
    if parts and (at / f"{parts[0]}.py").exists():
        file = at / f"{parts.pop(0)}.py"
    return has(file, ".".join(parts)) if parts else file.exists()


def stale(text, path):
    """Citations in a text without anything that they cite."""
    for name in ROLE.findall(text):
        if not name.startswith("minillm"):  # of this module, or of one next to it
            near = path.parent / "__init__.py" if path.parent != PACKAGE else path
            modules = {p.stem for p in path.parent.glob("*.py")}
            own = ".".join(part for part in name.split(".") if part not in modules)
            if own and not (path.suffix == ".py" and has(path, own)) and not has(near, own):
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
        elif name and file.suffix == ".py" and not has(file, name):
            yield f"{cited}: {name}"
    for name in FILE.findall(text):
        if name not in EXAMPLES | FILES:
            yield name


def test_every_citation_is_of_something_that_exists():
    found = {place(p): sorted(stale(text_of(p), p)) for p in (*SOURCES, *PAGES)}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_contributing_tells_the_layers_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in contracts["tool"]["importlinter"]["contracts"]
        if contract["name"] == "imports only run downwards"
    )
    rows = re.findall(r"^\| (`.*?) \|", text_of(ROOT / "CONTRIBUTING.md"), re.MULTILINE)
    told = [set(re.findall(r"`(\w+)`", row)) for row in rows]
    assert told == [set(re.findall(r"minillm\.(\w+)", layer)) for layer in layers]


# --- docstrings: a noun phrase for the result, or an imperative verb for an action ----------------

# "The number of rows", not "How many rows"; "Write the file", not "Writes the file".
WRONG = (
    r"(?:What|Those|That|Which|How|Where|When|If|It|There|Used|Helper|Returns?"
    r"|Gets?|Has|Does|Is|Are|Takes|Gives|Makes|Computes|Checks|Reads|Writes|Yields|Calculates"
    r"|This (?:function|method|class))\b"
)


def test_a_docstring_begins_with_its_noun_or_with_an_imperative():
    begins = re.compile(rf'^ +r?"""{WRONG}.*', re.MULTILINE)
    found = [(place(path), begins.search(text_of(path))) for path in MODULES]
    assert [one for one in found if one[1]] == []


WITH_EXAMPLES = [path for path in MODULES if re.search(r"^ *>>> ", text_of(path), re.MULTILINE)]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=place)
def test_the_examples_of_a_module(path):
    module = importlib.import_module(place(path).removesuffix(".py").replace("/", "."))
    assert doctest.testmod(module).failed == 0


# --- messages -------------------------------------------------------------------------------------


def test_nothing_names_a_distribution_of_the_package_index():
    """There, minillm is another project: ours is minillm-book."""
    wrong = re.compile(r"install\s+(-\S+\s+)*['\"]?minillm\b(?!-book)")
    files = {*MODULES, *PAGES, *ROOT.glob("*.md")}
    assert [place(path) for path in files if wrong.search(text_of(path))] == []


# A message without "expected" and "found" matches one of these, each with its reason.
EXCEPTIONS = {
    "a library is missing": r"needs? the packages? ",
    "the system or a library says what it found": r"cannot be read: |is damaged: |: \{\}$",
    "something is absent": r"\b(is missing|(has|have|is|are) no(ne)?)\b|is not among the",
    "it says what was found in other words": r"expected .*(, but |, because |, as |: )",
    "the user chooses how to go on": r": (give|raise) ",
}


def raised(path):
    """The messages of raised errors, with {} for what is computed; unless all of it is."""
    for call in calls(text_of(path)):
        text = ": ".join(map(literal, reversed(call.args)))  # InputError(message, where)
        if re.search(r"\w \w", text):
            yield text


def calls(text):
    """The expressions that make an error.  To parse whole modules would take three seconds."""
    for begin in re.finditer(r"(?<![\w.])(?:InputError|ValueError|TypeError)\(", text):
        for end in re.compile(r"\)").finditer(text, begin.end()):
            with contextlib.suppress(SyntaxError):
                yield ast.parse(text[begin.start() : end.end()], mode="eval").body
                break


def literal(text):
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in parts)


def test_an_error_says_what_was_expected_and_what_was_found():
    """One phrase for one thing: not "must be"."""
    messages = [text for path in MODULES for text in raised(path)]
    assert len(messages) > 300
    assert [text for text in messages if "must" in text.split()] == []
    others = [text for text in messages if not re.search(r"expected\b.*\bfound\b", text)]
    unlike = {text for text in others if not re.search("|".join(EXCEPTIONS.values()), text)}
    # They name two facts that do not fit, or what cannot be done; or what was found is an absent
    # argument, or long, or stands in front.
    assert len(unlike) <= 37, sorted(unlike)
