"""The directives ``picture`` and ``interactive``: an SVG of docs/pictures, in the page's colours.

An image in an ``img`` element does not see the theme of its page.  An SVG in the page does: its
lines and its text are drawn in ``currentColor``.  An interactive picture is an SVG that
docs/_static/interactive.js replaces by one with sliders.
"""

import html
import re
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive, directives

PICTURES = Path(__file__).resolve().parents[1] / "pictures"


def inline_svg(path: Path, alt: str) -> str:
    """The SVG's text for use in a page, where its ids must be unique."""
    svg = path.read_text()
    svg = svg[svg.index("<svg") :]
    prefix = path.stem + "-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)


def with_numbers(path: Path, alt: str) -> str:
    """The SVG with what its replacement needs: its name and the numbers of a JSON beside it."""
    numbers = path.with_suffix(".json")
    text = numbers.read_text().strip().replace("<", r"\u003c") if numbers.exists() else "null"
    return (
        f'<div class="interactive" data-picture="{path.stem}">\n'
        f'<div class="still">{inline_svg(path, alt)}</div>\n'
        f'<script type="application/json">{text}</script>\n</div>\n'
    )


class Picture(Directive):
    """``{picture} NAME`` with the option ``alt`` and a caption."""

    required_arguments = 1
    has_content = True
    markup = staticmethod(inline_svg)
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012  (docutils reads it from the class)

    def run(self) -> list[nodes.Node]:
        path = PICTURES / f"{self.arguments[0]}.svg"
        if not path.exists():
            raise self.error(f"expected a picture, found no {path.name} in docs/pictures")
        if "alt" not in self.options:
            raise self.error(f"{path.name}: expected the option alt, for those who cannot see it")
        for read in (path, path.with_suffix(".json")):
            self.state.document.settings.record_dependencies.add(str(read))
        picture = nodes.raw("", self.markup(path, self.options["alt"]), format="html")
        figure = nodes.figure("", picture, classes=["picture"])
        caption = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, caption)
        for paragraph in caption.children:
            figure += nodes.caption("", "", *paragraph.children)
        return [figure]


class Interactive(Picture):
    """``{interactive} NAME``: the same, with sliders where there is JavaScript."""

    markup = staticmethod(with_numbers)


def setup(app):
    app.add_directive("picture", Picture)
    app.add_directive("interactive", Interactive)
    return {"parallel_read_safe": True}
