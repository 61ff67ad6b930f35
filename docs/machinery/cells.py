"""The directive ``code-cell``: code that ran, and the output that was kept of it (outputs.py)."""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from outputs import KEPT, kept
from pygments.lexer import bygroups, inherit
from pygments.lexers import PythonLexer
from pygments.token import Operator, Text


class Cell(Directive):
    """``{code-cell}``: the code, and its kept output."""

    has_content = True
    option_spec = {"varies": directives.flag}  # noqa: RUF012  (docutils reads it from the class)

    def run(self) -> list[nodes.Node]:
        env = self.state.document.settings.env
        state = env.temp_data.setdefault("cells", {})
        page = Path(env.doc2path(env.docname))
        if not state:
            state["outputs"] = kept(page)
            env.note_dependency(str(KEPT / f"{page.stem}.json"))
            if state["outputs"] is None:
                self.state.document.reporter.warning(
                    "the cells have changed since they ran: `make book-full` runs them", line=1
                )
        number = state["number"] = state.get("number", -1) + 1
        code = "\n".join(self.content)
        result = [nodes.literal_block(code, code, language="cell", classes=["cell"])]
        if state["outputs"] and (output := state["outputs"][number]):
            result.append(
                nodes.literal_block(output, output, language="none", classes=["cell-output"])
            )
        return result


class CellLexer(PythonLexer):
    """Python, in which a line that begins with ! is a command of the shell."""

    tokens = {"root": [(r"^(!)(.*\n)", bygroups(Operator, Text)), inherit]}  # noqa: RUF012  (of Pygments)


def setup(app):
    app.add_directive("code-cell", Cell)
    app.add_lexer("cell", CellLexer)
    return {"parallel_read_safe": True}
