"""A chapter's notebook needs NumPy, what minillm always depends on, and no compiled kernel.

Whatever the cells of all chapters import is imported where nothing else is installed.  Two chapters
run there whole; all of them would take minutes.
"""

import ast
import re
import sys
from pathlib import Path

import pytest
from test_extras import PROJECT, bare

DOCS = Path(__file__).parents[2] / "docs"
CHAPTERS = sorted((DOCS / "chapters").glob("*.md"))
sys.path.insert(0, str(DOCS / "machinery"))

from notebooks import notebook  # noqa: E402  (the line above says where it is)

COMMAND = re.compile(r"^!((?:.*\\\n)*.*)$", re.MULTILINE)
BEFORE = "import os; os.environ['MINILLM_KERNELS'] = 'numpy'\n"
AFTER = """
print("kernels:", *(name for name in sys.modules if name.startswith("minillm._kernels.")))
"""


def cells(page: Path) -> str:
    """The code of all cells of a chapter."""
    book = notebook(page, holes=False)
    return "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")


def source(page: Path) -> str:
    """The same without the commands of the shell."""
    return COMMAND.sub("pass", cells(page))


def run_alone(program: str) -> str:
    """What a program prints where there are NumPy and the required packages alone."""
    required = {re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]}
    printed = bare(f"{BEFORE}{program}{AFTER}", *required)
    assert printed.endswith("kernels:\n")
    return printed.removesuffix("kernels:\n")


def test_the_imports_of_all_chapters():
    imports = {
        ast.unparse(node)
        for page in CHAPTERS
        for node in ast.walk(ast.parse(source(page)))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert len(imports) > 50
    run_alone("\n".join(sorted(imports)))


def test_the_commands_of_all_chapters():
    commands = [command for page in CHAPTERS for command in COMMAND.findall(cells(page))]
    assert {command.split()[0] for command in commands} <= {"minillm", "tail"}


@pytest.mark.deep
@pytest.mark.parametrize("name", ["00-derivatives", "01-counting"])
def test_a_chapter_runs(name):
    (page,) = (path for path in CHAPTERS if path.stem == name)
    assert run_alone(source(page))
