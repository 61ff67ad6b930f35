"""Let the search lead to sections: Sphinx's own index knows only in which page a word occurs.

``sections.js`` lists the sections of all pages, and for each stem the sections that contain it and
how often.  ``book.js`` looks there for the section of each result.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from docutils import nodes

FILE = "sections.js"
SKIPPED = (nodes.raw, nodes.comment, nodes.math, nodes.math_block)


def has_title(node: nodes.Node) -> bool:
    """Tell whether a node is a section of the page; the content of an exercise's box is not."""
    return isinstance(node, nodes.section) and isinstance(node.next_node(), nodes.title)


def words_of(node: nodes.Node, split) -> Iterator[str]:
    """Yield the words of a node without those of sections, pictures and formulas in it."""
    for child in node.children:
        if isinstance(child, nodes.Text):
            yield from split(child.lower())
        elif not isinstance(child, SKIPPED) and not has_title(child):
            yield from words_of(child, split)


def index(documents: dict[str, nodes.document], language) -> dict:
    """The page, the id and the title of each section, and the sections of each stem.

    ``language`` is Sphinx's, with ``split``, ``stem`` and ``word_filter``.  The sections of a stem
    are a list of numbers: a section, how often the stem occurs in it, the next section and so on.
    """
    sections, stems = [], defaultdict(list)
    stem_of = cache(language.stem)  # it is slow
    for page, document in documents.items():
        for node in document.findall(has_title):
            is_page = node.parent is document
            counts = Counter(map(stem_of, words_of(node, language.split)))
            for stem, count in counts.items():
                if language.word_filter(stem):
                    stems[stem] += [len(sections), count]
            anchor = "" if is_page else f"#{node['ids'][0]}"
            sections.append([page, anchor, node.next_node().astext()])
    return {"sections": sections, "stems": stems}


def write(app, exception) -> None:
    """Write the index beside the pages."""
    if exception or app.builder.name != "html":
        return
    documents = {name: app.env.get_doctree(name) for name in sorted(app.env.found_docs)}
    text = json.dumps(index(documents, app.builder.indexer.lang), separators=(",", ":"))
    path = Path(app.outdir, "_static", FILE)
    path.write_text(f"const SECTIONS = {text};\n", encoding="utf-8")


def load(app, page, template, context, document) -> None:
    """Let the page of the search load it."""
    if page == "search":
        app.add_js_file(FILE)


def setup(app):
    app.connect("html-page-context", load)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
