"""Make a Jupyter notebook of each chapter, from the text that the page is made of.

A chapter is MyST Markdown.  Its code cells become cells; text stays Markdown, in which the
directives that a notebook does not know are replaced: an include by the source itself, a picture
by its SVG, the models so far by their table, a citation by the names of its authors, a dropdown by
HTML that folds, an exercise by its text.  The function with a hole that an exercise asks for is a
cell below it, which checks itself.

    python docs/machinery/notebooks.py FOLDER
"""

import ast
import base64
import re
import sys
from functools import cache
from pathlib import Path

import nbformat
import reading
import so_far
from pybtex.database import parse_file

DOCS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(DOCS.parent))  # a reader's build has not installed minillm

from minillm.exercises import exercises  # noqa: E402

FENCE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:-]+)\} *(?P<argument>[^\n]*)\n"
    r"(?P<body>.*?)^(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
ROLE = re.compile(r"\{(?P<name>[\w:-]+)\}`(?P<content>[^`]+)`")
EXERCISE = re.compile("`minillm exercise ([\\w-]+)`")
OPTION = re.compile(r"^:(?P<name>[\w-]+):(?P<value>.*)$")


def cells(text: str, holes: bool = True) -> list[tuple[str, str]]:
    """A chapter's cells as pairs: "markdown" or "code", and the source.

    Without ``holes``, exercises have no cell.
    """
    text = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.MULTILINE | re.DOTALL)
    result: list[tuple[str, str]] = []
    end = 0
    for match in FENCE.finditer(text):
        if match["name"] == "code-cell":
            result.append(("markdown", text[end : match.start()]))
            result.append(("code", _split(match["body"])[1]))
        elif holes and (named := EXERCISE.search(match["body"])):
            result.append(("markdown", text[end : match.end()]))
            result.append(("code", _hole(named[1])))
        else:
            continue
        end = match.end()
    result.append(("markdown", text[end:]))
    return [(kind, source.strip("\n")) for kind, source in result if source.strip()]


def notebook(path: Path, holes: bool = True) -> nbformat.NotebookNode:
    """The notebook of the chapter at ``path``; its exercises are cells with holes."""
    book = nbformat.v4.new_notebook()
    book.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    text = path.read_text()
    citations = re.findall(r"\{footcite:?\w*\}`([^`]+)`", text)
    cited = sorted({key.strip() for keys in citations for key in keys.split(",")})
    for number, (kind, source) in enumerate(cells(text, holes)):
        make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        cell = make(source if kind == "code" else _markdown(source, path.parent, cited))
        cell["id"] = f"cell-{number}"  # random unless given
        book.cells.append(cell)
    return book


def _hole(name: str) -> str:
    """The cell of an exercise: a function with a hole, and its check."""
    exercise = exercises()[name]
    arguments = f"{exercise.function}, FAULT" if exercise.bugs else exercise.function
    return f"from minillm.exercises import check\n{exercise.hole}\n\ncheck({arguments})"


def write_all(chapters: Path, folder: Path) -> None:
    """Write the notebooks of all chapters into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(chapters.glob("*.md")):
        nbformat.write(notebook(path), folder / f"{path.stem}.ipynb")


def _split(body: str) -> tuple[dict[str, str], str]:
    """Separate a directive's options from its content."""
    options, lines = {}, body.splitlines()
    while lines and (match := OPTION.match(lines[0])):
        options[match["name"]] = match["value"].strip()
        lines.pop(0)
    return options, "\n".join(lines).strip("\n")


def _markdown(text: str, folder: Path, cited: list[str]) -> str:
    text = FENCE.sub(lambda match: _directive(match, folder, cited), text)
    text = re.sub(r"^\(([\w-]+)\)=\n(#+ )?", _heading, text, flags=re.MULTILINE)
    text = re.sub(r"^\$\$ \(([\w-]+)\)$", _tagged, text, flags=re.MULTILINE)
    return ROLE.sub(_role, text)


def _heading(match: re.Match) -> str:
    """What remains of the target of a link: the mark of the core path before a heading."""
    label, level = match.groups(default="")
    return f"{level}\u25c6 " if level and label in reading.core() else level


def _tagged(end: re.Match) -> str:
    """The end of a formula with a label, with its number."""
    return f"\\tag{{{formula_numbers()[end[1]]}}}\n$$"


def _directive(match: re.Match, folder: Path, cited: list[str]) -> str:
    options, content = _split(match["body"])
    name, argument = match["name"], match["argument"].strip()
    if name == "literalinclude":
        return _included(folder / argument, options)
    if name in ("picture", "interactive", "look"):
        svg = (DOCS / "pictures" / f"{argument}.svg").read_text()
        return _image(svg, options["alt"], content)
    if name == "so-far":
        new = argument.split()
        image = (so_far.grown(new), so_far.alternative(new), so_far.CAPTION)
        return so_far.text(new) + (f"\n\n{_image(*image)}" if image[0] else "")
    if name == "math":
        return f"$$\n{content}\n$$"
    if name == "footbibliography":
        return "\n".join(f"- {_full(key)}" for key in cited)
    content = _markdown(content, folder, cited)
    if name == "dropdown":
        return f"<details><summary>{argument}</summary>\n\n{content}\n\n</details>"
    title = (
        f"**{argument or name.capitalize()}.** "
        if name != "exercise"
        else f"**Exercise: {argument}.** "
    )
    return "\n".join("> " + line for line in (title + content).splitlines())


def _image(svg: str, alt: str, caption: str) -> str:
    """An SVG in the notebook itself."""
    data = base64.b64encode(svg.encode()).decode()
    return f"![{alt}](data:image/svg+xml;base64,{data})\n\n*{caption}*"


def _included(path: Path, options: dict[str, str]) -> str:
    """The included source as a fenced block."""
    source = path.resolve().read_text()
    language = {".py": "python"}.get(path.suffix, "")
    if "pyobject" in options:
        source = _object(source, options["pyobject"])
    if "lines" in options:
        first, last = options["lines"].split("-")
        source = "\n".join(source.splitlines()[int(first) - 1 : int(last)])
    if "start-at" in options:
        source = source[source.index(options["start-at"]) :]
    if "end-at" in options:
        end = source.index(options["end-at"])
        source = source[: source.index("\n", end)]
    if "end-before" in options:
        source = source[: source.index(options["end-before"])]
    return f"```{language}\n{source.rstrip()}\n```"


def _object(source: str, name: str) -> str:
    """The lines of a function or a class, such as ``lstm`` or ``GPT.forward``."""
    node: ast.AST = ast.parse(source)
    for part in name.split("."):
        node = next(n for n in ast.walk(node) if getattr(n, "name", None) == part)
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def _role(match: re.Match) -> str:
    name, content = match["name"], match["content"]
    if name.startswith("footcite"):
        return ", ".join(_short(key.strip()) for key in content.split(","))
    if name == "eq":
        return f"({formula_numbers()[content]})"
    if name in ("doc", "ref", "numref", "prf:ref"):
        return re.sub(r" *<.*>$", "", content)
    return f"`{content}`"


@cache
def formula_numbers() -> dict[str, str]:
    """The numbers of the formulas that have labels."""
    found = {}
    for page in (DOCS / "chapters").glob("*.md"):
        labels = re.findall(r"^\$\$ \(([\w-]+)\)$", page.read_text(), re.MULTILINE)
        found |= {label: f"{int(page.name[:2])}.{n}" for n, label in enumerate(labels, 1)}
    return found


@cache
def _bibliography() -> dict:
    return parse_file(DOCS / "references.bib").entries


def _short(key: str) -> str:
    """ "Hochreiter and Schmidhuber (1997)"."""
    entry = _bibliography()[key]
    names = [" ".join(person.last_names) for person in entry.persons["author"]]
    who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return f"{who} ({entry.fields['year']})"


def _full(key: str) -> str:
    entry = _bibliography()[key]
    return f"{_short(key)}: {entry.fields['title']}"


if __name__ == "__main__":
    write_all(DOCS / "chapters", Path(sys.argv[1]))
