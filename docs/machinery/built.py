"""Read the built pages of the book again, for what is made from them: slides.py, printed.py."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LIVE = re.compile(r'<div class="live">.*?</div>', re.DOTALL)  # on paper, a picture stands for it
SECTION_NUMBER = re.compile(r'<span class="section-number">.*?</span>')
VOID = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
ANCHOR = re.compile(
    r'\s*<a class="(?:footnote-reference|headerlink)\b.*?</a>|</?a\b[^>]*>', re.DOTALL
)


class Element:
    """An element: its tag and classes, its children (elements and strings), its place."""

    def __init__(self, tag: str, attributes: dict[str, str], start: int, inner: int):
        self.tag, self.attributes, self.start, self.inner = tag, attributes, start, inner
        self.classes = set(attributes.get("class", "").split())
        self.children: list[Element | str] = []
        self.last = self.end = inner  # where its content ends, and where it ends itself

    def elements(self) -> "list[Element]":
        return [child for child in self.children if isinstance(child, Element)]

    def all(self) -> "Iterator[Element]":
        """Yield the element, and all elements in it."""
        yield self
        for child in self.elements():
            yield from child.all()

    def text(self) -> str:
        """Return what a reader sees, about: of a formula, the symbols once."""
        if self.tag in ("svg", "annotation") or self.classes & {"katex-html", "headerlink"}:
            return ""
        return "".join(c if isinstance(c, str) else c.text() for c in self.children)


class _Builder(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.html, self.starts = text, [0]
        for line in text.split("\n"):
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.root = Element("", {}, 0, 0)
        self.open = [self.root]
        self.feed(text)
        self.close()

    def _place(self) -> int:
        line, column = self.getpos()
        return self.starts[line - 1] + column

    def handle_starttag(self, tag, attrs):
        start = self._place()
        found = {name: value or "" for name, value in attrs}
        element = Element(tag, found, start, start + len(self.get_starttag_text()))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        element = self.open.pop()
        if element.tag != tag:
            raise ValueError(
                f"expected </{element.tag}>, found </{tag}> on line {self.getpos()[0]}"
            )
        element.last = self._place()
        element.end = self.html.index(">", element.last) + 1

    def handle_data(self, data):
        self.open[-1].children.append(data)


def article(page: Path) -> tuple[str, Element]:
    """Return the article of a page as text, and as a tree whose places are in this text."""
    text = page.read_text(encoding="utf-8")
    start = text.index(">", text.index("<article")) + 1
    text = LIVE.sub("", text[start : text.index("</article>", start)])
    try:
        return text, tree(text)
    except ValueError as error:  # raw HTML in a page's source, such as a <name> outside of code
        raise ValueError(f"{page}: {error}") from None


def tree(text: str) -> Element:
    """Return the elements of a text of HTML."""
    return _Builder(text).root


def contents(index: Path) -> list[tuple[str, list[str]]]:
    """Return the parts of the book in order, each with the addresses of its pages."""
    text = index.read_text(encoding="utf-8")
    sidebar = text[text.index('<div class="sidebar-tree">') :]
    sidebar = tree(sidebar[: sidebar.index("</div>") + len("</div>")])
    parts: list[tuple[str, list[str]]] = []
    for element in sidebar.all():
        if "caption" in element.classes:
            parts.append((element.text(), []))
        elif element.tag == "a" and "reference" in element.classes:
            parts[-1][1].append(element.attributes["href"])
    return parts
