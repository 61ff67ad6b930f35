"""Number sections, figures, exercises and cited formulas by chapter.

Section 8.2 is the second of chapter 8, which its file's name numbers.  A formula that is cited has
a label, behind its last ``$$``, and {eq}`label` cites it: (8.1) is the first with a label.
Sections of the core path (reading.py) get the class ``core``.
"""

import re

import reading
from docutils import nodes
from notebooks import formula_numbers
from sphinx.transforms import SphinxTransform


def chapter_of(page: str) -> int | None:
    """The number of a chapter, and None for another page."""
    match = re.match(r"chapters/(\d+)-", page)
    return int(match[1]) if match else None


class Numbers(SphinxTransform):
    """Put its number before the title of each section; a formula carries it as an attribute."""

    default_priority = 800

    def apply(self) -> None:
        chapter = chapter_of(self.env.docname)
        if chapter is None:
            return
        for top in self.document.children:
            if isinstance(top, nodes.section):
                self._sections(top, f"{chapter}")
        self.env.note_dependency(str(reading.PATH))
        core = {*reading.core()}
        for section in self.document.findall(nodes.section):
            if core.intersection([*section["ids"], *section["names"]]):
                section["classes"].append("core")
        for formula in self.document.findall(nodes.math_block):
            formula["place"] = formula_numbers().get(formula.get("label"))

    def _sections(self, above: nodes.section, number: str) -> None:
        sections = [child for child in above.children if isinstance(child, nodes.section)]
        for count, section in enumerate(sections, 1):
            own = f"{number}.{count}"
            title = section.next_node(nodes.title)
            title.insert(0, nodes.inline("", f"{own} ", classes=["section-number"]))
            self._sections(section, own)


def by_chapter(app, env) -> list[str]:
    """Begin the numbers of figures and exercises on each page again: Fig. 8.1 in chapter 8."""
    for page, kinds in env.toc_fignumbers.items():
        chapter = chapter_of(page)
        for numbers in kinds.values():
            for count, name in enumerate(numbers, 1):
                numbers[name] = (count,) if chapter is None else (chapter, count)
    return []


def setup(app):
    app.add_transform(Numbers)
    app.connect("env-get-updated", by_chapter, priority=900)  # after Sphinx has assigned them
    return {"parallel_read_safe": True}
