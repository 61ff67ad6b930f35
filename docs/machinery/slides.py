"""Make slides from the built chapters: ``python slides.py HTML FOLDER [CHAPTER ...]``.

A section becomes a slide, or several if it is long: its heading, pictures, displayed formulas,
lists, and boxes "By hand" and "Common mistake".  The running text is for the teacher to say; only a
section that has nothing else shows its first paragraph.
"""

import html
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from built import ANCHOR, SECTION_NUMBER, Element, article, contents

HERE = Path(__file__).resolve().parent
LEFT_OUT = {"History", "Further reading", "Exercises", "Sources"}
BOXES = {
    "admonition-by-hand",
    "admonition-common-mistake",
    "warning",
}  # some mistakes have this class
FORMULAS = {"math-wrapper", "equation", "formula"}
LINES = 13.0  # of text that fit a slide below its heading
WIDTH = 80  # letters of a line

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{styles}
<script src="_static/slides.js"></script>
<script defer src="_static/interactive.js"></script>
</head>
<body data-theme="light">
{body}
</body>
</html>
"""


class Chapter:
    """The slides of one page: lists of pieces of HTML, each list with its heading."""

    def __init__(self, page: Path):
        self.html, root = article(page)
        top = next(element for element in root.all() if element.tag == "section")
        self.title = self._heading(top)
        self.slides: list[tuple[str, list[str]]] = []
        for section in top.elements():
            if section.tag == "section":
                self._section(section, "")
        self.aim = next(
            (
                self._plain(next(e for e in box.elements() if e.tag == "p" and not e.classes))
                for box in top.elements()
                if "admonition-in-this-chapter" in box.classes
            ),
            "",
        )

    def _plain(self, element: Element) -> str:
        """The HTML of an element without links, which lead out of the slides."""
        return ANCHOR.sub("", self.html[element.start : element.end])

    def _heading(self, section: Element) -> str:
        heading = next(e for e in section.elements() if re.fullmatch("h[1-6]", e.tag))
        return ANCHOR.sub("", self.html[heading.inner : heading.last]).strip()

    def _section(self, section: Element, above: str) -> None:
        heading = self._heading(section)
        if SECTION_NUMBER.sub("", heading) in LEFT_OUT:
            return
        if above:
            heading = f"<small>{above}</small> {heading}"
        parts = [e for e in section.elements() if e.tag == "section"]
        pieces = list(self._pieces(section))
        if not pieces and not parts:
            first = next((e for e in section.elements() if e.tag == "p"), None)
            pieces = [(weight(first), self._plain(first))] if first else []
        room = 0.0
        for size, piece in pieces:
            if size > room:
                self.slides.append((heading, []))
                room = LINES
            self.slides[-1][1].append(piece)
            room -= size
        for part in parts:
            self._section(part, self._heading(section))

    def _pieces(self, section: Element) -> Iterator[tuple[float, str]]:
        """Yield what a slide shows of a section, with its size in lines."""
        label = ""  # the bold words that begin a paragraph announce the formula below it
        for element in section.elements():
            if (
                element.tag == "p"
                and element.text().startswith(bold := first_bold(element))
                and bold
            ):
                label = self._plain(element.elements()[0])
            shown = element.classes & BOXES or element.tag in ("ul", "ol", "figure")
            formula = bool(element.classes & FORMULAS)
            if shown or formula:
                before = f'<p class="label">{label}</p>' if formula and label else ""
                yield weight(element) + bool(before), before + self._plain(element)
                label = ""


def first_bold(paragraph: Element) -> str:
    """Return the text of the bold words with which a paragraph begins, if it does."""
    first = paragraph.children[0] if paragraph.children else ""
    return first.text() if isinstance(first, Element) and first.tag == "strong" else ""


def weight(element: Element) -> float:
    """Estimate how many lines of a slide an element takes."""
    if element.tag == "figure":
        return 10 + len(element.text()) / WIDTH
    lines = 0.0
    for part in element.all():
        if part.tag in ("p", "li", "ul", "pre"):
            lines += 0.6
        elif part.tag == "annotation" and element.classes & FORMULAS:
            tex = "".join(c for c in part.children if isinstance(c, str))
            tall = 2.4 if re.search(r"\\(frac|sum|prod|int)\b", tex) else 1.4
            lines += tall * (tex.count(r"\\") + 1)
    if element.tag == "div" and not element.classes & BOXES:
        return lines
    return lines + len(element.text()) / WIDTH


def page_of(chapter: Chapter, styles: str) -> str:
    """Return the page of a chapter's slides."""
    slides = [f'<h1>{chapter.title}</h1>\n<div class="body">{chapter.aim}</div>']
    headings = [heading for heading, _ in chapter.slides]
    for number, (heading, pieces) in enumerate(chapter.slides):
        more = " <small>continued</small>" if number and headings[number - 1] == heading else ""
        slides.append(f'<h2>{heading}{more}</h2>\n<div class="body">{"".join(pieces)}</div>')
    plain = html.escape(re.sub("<[^>]*>", "", chapter.title), quote=False)
    body = "\n".join(
        f'<section class="slide" id="slide-{number}">\n{slide}\n'
        f"<footer><span>{plain}</span><span>{number} / {len(slides)}</span></footer>\n</section>"
        for number, slide in enumerate(slides, 1)
    )
    return PAGE.format(title=f"{plain}: slides", styles=styles, body=f"<main>\n{body}\n</main>")


def main(book: Path, folder: Path, names: list[str]) -> None:
    """Write a page for each chapter, and one that lists them."""
    chapters = [
        book / page
        for _, pages in contents(book / "index.html")
        for page in pages
        if page.startswith("chapters/") and (not names or Path(page).stem in names)
    ]
    static = folder / "_static"
    shutil.rmtree(folder, ignore_errors=True)
    static.mkdir(parents=True)
    katex = next((book / "_static").glob("katex-*"))
    shutil.copytree(katex, static / katex.name)
    files = [book / "_static/pygments.css", book / "_static/book.css", HERE / "slides.css"]
    for file in [*files, HERE / "slides.js", book / "_static/interactive.js"]:
        shutil.copy(file, static)
    styles = "\n".join(
        f'<link rel="stylesheet" href="_static/{name}">'
        for name in (f"{katex.name}/katex.min.css", *(file.name for file in files))
    )
    lines, count = [], 0
    for page in chapters:
        chapter = Chapter(page)
        (folder / page.name).write_text(page_of(chapter, styles), encoding="utf-8")
        lines.append(f'<li><a href="{page.name}">{chapter.title}</a></li>')
        count += len(chapter.slides) + 1
    body = f'<main class="list">\n<h1>minillm: slides</h1>\n<ul>\n{"".join(lines)}\n</ul>\n</main>'
    index = PAGE.format(title="minillm: slides", styles=styles, body=body)
    (folder / "index.html").write_text(index, encoding="utf-8")
    print(f"{count} slides in {len(chapters)} pages: open {folder / 'index.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
