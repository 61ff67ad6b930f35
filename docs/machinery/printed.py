"""Print the built book: ``python printed.py HTML PDF`` writes one page of all pages, and the PDF.

Chromium prints twice: the contents need the numbers of the pages, which only the first PDF knows.
The one page is put together from the built pages, not by Sphinx's builder ``singlehtml``: there,
the sections "Summary" of all chapters have the same id, and every link leads to the first of them.
"""

import html
import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

from built import SECTION_NUMBER, Element, article, contents

HERE = Path(__file__).resolve().parent
# Sections that chapters have in common: the contents leave them out.
USUAL = {
    *("The story so far", "Summary", "Equations"),
    *("History", "Further reading", "Exercises", "Sources"),
}
TAG = re.compile(r"<[a-zA-Z][^<>]*>")
NAMES = re.compile(r'\s(id|for|name|aria-labelledby|aria-describedby)="([^"]*)"')
LINK = re.compile(r'<a\b[^>]*?\shref="([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)
HEADERLINK = re.compile(r'<a class="headerlink".*?</a>', re.DOTALL)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>minillm: the book</title>
{styles}
<script src="printed.js"></script>
</head>
<body data-theme="light">
<section class="title-page">
<p class="title">minillm</p>
<p>Language models from counting to Llama,<br>every gradient derived by hand</p>
<p>The minillm maintainers</p>
<p class="small">Text, pictures, exercises and code are under the MIT License.</p>
</section>
<nav class="contents">
<h1>Contents</h1>
{contents}
</nav>
{body}
</body>
</html>
"""


def name_of(page: str) -> str:
    """The id of a page in the book of one page: ``gates`` of ``chapters/08-gates.html``."""
    return page.removesuffix(".html").replace("/", "-")


class Book:
    """All pages as one: their text, and the lines of the contents."""

    def __init__(self, folder: Path, pages: list[tuple[str, list[str]]]):
        self.folder, self.ids = folder, set()
        self.known = {page for _, group in pages for page in group}
        self.body: list[str] = []
        self.contents: list[tuple[str, str, str]] = []  # a class, an id, a heading
        for number, (part, group) in enumerate(pages):
            if part:
                self._line("part", f"part-{number}", html.escape(part, quote=False))
                heading = html.escape(part, quote=False)
                self.body.append(
                    f'<section class="part" id="part-{number}"><h1>{heading}</h1></section>'
                )
            for page in group:
                self._page(page)
        text = "\n".join(self.body)
        self.text = LINK.sub(self._unless_dead, text)

    def _line(self, kind: str, target: str, heading: str) -> None:
        self.contents.append((kind, target, heading))
        self.ids.add(target)

    def _page(self, page: str) -> None:
        text, root = article(self.folder / page)
        top = next(element for element in root.all() if element.tag == "section")
        self._line("page", name_of(page), self._heading(text, top))
        for section in top.elements() if page != "index.html" else []:
            if section.tag != "section":
                continue
            name = self._heading(text, section)
            if SECTION_NUMBER.sub("", name) not in USUAL:
                target = f"{name_of(page)}--{section.attributes['id']}"
                self._line("section", target, name)
        self.ids |= {
            f"{name_of(page)}--{e.attributes['id']}" for e in root.all() if "id" in e.attributes
        }
        text = HEADERLINK.sub("", text).replace("<details", "<details open")
        text = TAG.sub(lambda match: self._tag(match[0], page), text)
        self.body.append(f'<article id="{name_of(page)}">\n{text}\n</article>')

    def _heading(self, text: str, section: Element) -> str:
        heading = next(e for e in section.elements() if re.fullmatch("h[1-6]", e.tag))
        return re.sub(
            "</?a\\b[^>]*>", "", HEADERLINK.sub("", text[heading.inner : heading.last])
        ).strip()

    def _tag(self, tag: str, page: str) -> str:
        """Make names unique by the page, and turn links between pages into links inside of one."""
        here = name_of(page)

        def named(match: re.Match) -> str:
            names = " ".join(f"{here}--{name}" for name in match[2].split())
            return f' {match[1]}="{names}"'

        def linked(match: re.Match) -> str:
            path, _, anchor = match[2].partition("#")
            if ":" in path:
                return match[0]
            target = (
                posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            )
            return f'{match[1]}="#{name_of(target)}{"--" + anchor if anchor else ""}"'

        if not tag.startswith("<meta"):
            tag = NAMES.sub(named, tag)
        tag = re.sub(r'(\b(?:xlink:)?href)="([^"]*)"', linked, tag)
        return tag.replace("url(#", f"url(#{here}--")

    def _unless_dead(self, match: re.Match) -> str:
        """Leave the text alone of a link to what is not printed: a notebook, the general index."""
        dead = match[1].startswith("#") and html.unescape(match[1][1:]) not in self.ids
        return match[2] if dead else match[0]

    def page(self, styles: list[str], numbers: dict[str, int]) -> str:
        """The whole book as a page, with the numbers of the pages that are known."""
        lines = "\n".join(
            f'<p class="{kind}"><a href="#{target}">{heading}</a>'
            f"<span></span><b>{numbers.get(target, '')}</b></p>"
            for kind, target, heading in self.contents
        )
        links = "\n".join(f'<link rel="stylesheet" href="{style}">' for style in styles)
        return PAGE.format(styles=links, contents=lines, body=self.text)


def destinations(pdf: bytes) -> dict[str, int]:
    """Return the number of the page of each name that a link of Chromium's PDF leads to."""
    found = re.finditer(rb"(?<!\d)(\d+) 0 obj\s*(.*?)\s*endobj", pdf, re.DOTALL)
    objects = {match[1]: match[2] for match in found}
    catalog = next(o for o in objects.values() if b"/Type /Catalog" in o)

    def pages(reference: bytes) -> list[bytes]:
        kids = re.search(rb"/Kids \[(.*?)\]", objects[reference], re.DOTALL)
        if not kids:
            return [reference]
        return [page for kid in re.findall(rb"(\d+) 0 R", kids[1]) for page in pages(kid)]

    numbers = {page: i for i, page in enumerate(pages(re.search(rb"/Pages (\d+)", catalog)[1]), 1)}
    named = re.search(rb"/Dests (\d+)", catalog)
    places = re.findall(rb"/([^\s/\[]+)\s*\[(\d+) 0 R", objects[named[1]] if named else b"")
    return {
        re.sub(rb"#(..)", lambda m: bytes.fromhex(m[1].decode()), name).decode(): numbers[page]
        for name, page in places
    }


def chromium() -> str | None:
    """Return the path of Chromium, or None."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def print_page(browser: str, page: Path, pdf: Path) -> None:
    """Let Chromium print a page."""
    options = [
        "--headless",
        "--disable-gpu",
        "--no-pdf-header-footer",
        "--generate-pdf-document-outline",
    ]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # with it, Chromium does not start as root
    options += ["--virtual-time-budget=60000", f"--print-to-pdf={pdf}", page.as_uri()]
    pdf.unlink(missing_ok=True)
    result = subprocess.run([browser, *options], capture_output=True, text=True, check=False)
    if not pdf.exists():
        sys.exit(f"{browser}: expected a PDF, found: {result.stderr.strip()[-500:]}")


def main(folder: Path, pdf: Path) -> int:
    """Write the page and the PDF; return the status."""
    folder, pdf = folder.resolve(), pdf.resolve()
    work = pdf.parent / "printed"
    work.mkdir(parents=True, exist_ok=True)
    book = Book(folder, [("", ["index.html"]), *contents(folder / "index.html")])
    katex = next((folder / "_static").glob("katex-*"))
    for file in ("printed.css", "printed.js"):
        shutil.copy(HERE / file, work)
    static = [f"{katex.name}/katex.min.css", "pygments.css", "book.css"]
    styles = [os.path.relpath(folder / "_static" / name, work) for name in static] + ["printed.css"]
    page = work / "index.html"
    page.write_text(book.page(styles, {}), encoding="utf-8")
    browser = chromium()
    if not browser:
        print(
            "make pdf: expected Chromium (apt-get install chromium, or CHROMIUM= its path), "
            f"found none; any browser can print {os.path.relpath(page)}",
            file=sys.stderr,
        )
        return 2
    print_page(browser, page, pdf)
    numbers = destinations(pdf.read_bytes())
    page.write_text(book.page(styles, numbers), encoding="utf-8")
    print_page(browser, page, pdf)
    print(f"open {os.path.relpath(pdf)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
