"""An SVG of docs/pictures inside a page, in the page's colours.

An image in an ``img`` element does not see the theme of its page.  An SVG in the page does: its
lines and its text are drawn in ``currentColor``.  An interactive picture is an SVG that
docs/_static/interactive.js replaces by one with sliders.  The SVG of a look stands for the page of
``minillm look`` next to it: on paper, and where there is no JavaScript.
"""

import html
import json
import re
from pathlib import Path

LOOKS = Path(__file__).resolve().parents[1] / "outputs" / "look"


def inline_svg(path: Path, alt: str) -> str:
    """The SVG's text for use in a page, where its ids must be unique."""
    return inline(path.read_text(), path.stem, alt)


def inline(svg: str, name: str, alt: str) -> str:
    """The same of the text of an SVG, whose ids begin with its name."""
    svg = svg[svg.index("<svg") :]
    prefix = name + "-"
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


def beside_page(path: Path, alt: str) -> str:
    """The SVG ``look-NAME`` below the page look/NAME.html, in a frame, and a link to the page."""
    name = path.stem.removeprefix("look-")
    page, kept = f"../look/{name}.html", json.loads((LOOKS / f"{name}.json").read_text())
    title = html.escape(f"A look inside {kept['name']}")
    return (
        f'<div class="live"><iframe src="{page}" title="{title}" loading="lazy"></iframe>\n'
        f'<p><a class="reference" href="{page}">Open this page alone</a></p></div>\n'
        f'<div class="still">{inline_svg(path, alt)}</div>\n'
    )
