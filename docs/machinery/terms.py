"""The glossary, a line for each term, and its terms in the general index.

A line is ``term: meaning``.  The glossary itself is the first place of each term in the index.  The
second is the first bold occurrence of the term, or of its plural, in the chapter that it names.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.domains.std import Glossary
from sphinx.transforms import SphinxTransform

GLOSSARY = Path(__file__).resolve().parents[1] / "appendices" / "glossary.md"
ENTRY = re.compile(r"^(\S[^:\n]*): .+ \(\{ref\}`chapter (\d+) <[\w-]+>`\)\.$", re.MULTILINE)


def terms(number: int) -> list[str]:
    """The terms of one chapter."""
    return [term for term, chapter in ENTRY.findall(GLOSSARY.read_text()) if int(chapter) == number]


def mark(document: nodes.document, names: list[str]) -> None:
    """Put an entry of the index before the first bold occurrence of each term."""
    bold: dict[str, nodes.strong] = {}
    for node in document.findall(nodes.strong):
        bold.setdefault(" ".join(node.astext().casefold().split()).rstrip("."), node)
    for name in names:
        word = name.casefold()
        if node := bold.get(word) or bold.get(f"{word}s"):
            target = "index-" + nodes.make_id(name)
            entry = addnodes.index(entries=[("single", name, target, "main", None)])
            place = [entry, nodes.target("", "", ids=[target])]
            node.parent.insert(node.parent.index(node), place)


class Lines(Glossary):
    """Give Sphinx each term and its meaning on lines of their own, and an empty line after them."""

    def run(self) -> list[nodes.Node]:
        spread = StringList()
        for line, (source, number) in zip(self.content, self.content.items, strict=True):
            for part in (*line.replace(": ", "\n  ", 1).split("\n"), ""):
                spread.append(part, source, number)
        self.content = spread
        return super().run()


class MarkTerms(SphinxTransform):
    """Mark the terms of a page, if it is a chapter, before Sphinx collects the entries."""

    default_priority = 800  # Sphinx collects them at 850

    def apply(self, **kwargs) -> None:
        if number := re.match(r"chapters/(\d+)", self.env.docname):
            self.env.note_dependency(str(GLOSSARY))
            mark(self.document, terms(int(number[1])))


def setup(app):
    app.add_directive("glossary", Lines, override=True)
    app.add_transform(MarkTerms)
    return {"parallel_read_safe": True}
