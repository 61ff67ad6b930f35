"""Draw the diagrams of the book as SVG: boxes, circles, arrows and text on a canvas.

Each script beside this one writes the SVG of its name.  Colours are variables of the page's
style sheet (``first`` to ``fourth``), with a fallback for a picture that is opened alone; all else
takes the colour of the text, so that a picture fits the light and the dark theme.  Formulas between
dollar signs are typeset as those of the text, whose fonts (KaTeX) a page has loaded.

    python docs/pictures/NAME.py
"""

import re
import sys
from html import escape
from pathlib import Path

UPRIGHT = ' font-family="KaTeX_Main, \'Times New Roman\', serif" font-style="normal"'
ITALIC = ' font-family="KaTeX_Math, \'Times New Roman\', serif" font-style="italic"'
# A part of a formula: what stands under the line, over it, or on it.
PART = re.compile(
    r"_(?:\{(?P<under>[^}]*)\}|(?P<under1>.))|\^(?:\{(?P<over>[^}]*)\}|(?P<over1>.))"
    r"|(?P<line>[^\W\d_]+|.)"
)

COLOURS = {
    "first": "var(--first, #1f6fb4)",
    "second": "var(--second, #b3541e)",
    "third": "var(--third, #2c7a3f)",
    "fourth": "var(--fourth, #7b4fa3)",
    "plain": "currentColor",
}


def typeset(words: str, size: float) -> str:
    """The SVG of a line of text, in which ``$h_{prev} W_h^2$`` is a formula.

    A single letter is a variable, in italics; longer words (dx, tanh) and figures are upright.
    """
    # KaTeX enlarges its letters, which are small, as well.
    svg, height, large = "", 0.0, round(1.1 * size, 1)
    for number, text in enumerate(words.split("$")):
        if number % 2 == 0:
            parts = [("", 0.0, size, text)] if text else []
        else:
            parts = [part_of(match, large) for match in PART.finditer(text)]
        for style, up, font, part in parts:
            move = f' dy="{height - up:.1f}"' if up != height else ""
            if style or move:
                svg += f'<tspan{move} font-size="{font:g}"{style}>{escape(part)}</tspan>'
            else:
                svg += escape(part)
            height = up
    return svg


def part_of(match: re.Match, size: float) -> tuple[str, float, float, str]:
    """A part's style, its height above the line, its size and its text."""
    ((name, text),) = ((name, text) for name, text in match.groupdict().items() if text)
    small = round(0.7 * size, 1)
    places = {"under": (-0.2 * size, small), "over": (0.35 * size, small), "line": (0.0, size)}
    up, font = places[name.rstrip("1")]
    variable = len(text) == 1 and text.isalpha() and text.isascii()
    return ITALIC if variable else UPRIGHT, round(up, 1), font, text


class Drawing:
    """A canvas of ``width`` by ``height``; x grows to the right, y grows downwards."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height, self.parts = width, height, []

    def text(self, x, y, words, *, size=15, colour="plain", anchor="middle", italic=False):
        """Write one line, centred on (x, y); what stands between dollar signs is a formula."""
        style = ' font-style="italic"' if italic else ""
        fill = "" if colour == "plain" else f' style="fill:{COLOURS[colour]}"'
        self.parts.append(
            f'<text x="{x}" y="{y + size * 0.35:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f"{style}{fill}>{typeset(words, size)}</text>"
        )

    def box(self, x, y, width, height, words="", *, colour="plain", size=15, dashed=False):
        """Draw a rounded box whose centre is (x, y), with a word in it."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<rect x="{x - width / 2}" y="{y - height / 2}" width="{width}" height="{height}" '
            f'rx="7" fill="{COLOURS[colour]}" fill-opacity="0.1" stroke="{COLOURS[colour]}" '
            f'stroke-width="1.5"{dash}/>'
        )
        if words:
            self.text(x, y, words, size=size)

    def circle(self, x, y, radius, words="", *, colour="plain", size=15):
        self.parts.append(
            f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{COLOURS[colour]}" fill-opacity="0.1" '
            f'stroke="{COLOURS[colour]}" stroke-width="1.5"/>'
        )
        if words:
            self.text(x, y, words, size=size)

    def line(self, points, *, colour="plain", dashed=False, arrow=True, width=1.5):
        """Draw a line through the points, with an arrowhead at its end."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[colour]}" '
            f'stroke-width="{width}"{dash}/>'
        )
        if arrow:
            self._head(points[-2], points[-1], colour)

    def _head(self, start, end, colour):
        (x0, y0), (x1, y1) = start, end
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        corners = [
            (x1, y1),
            (x1 - 9 * dx + 4 * dy, y1 - 9 * dy - 4 * dx),
            (x1 - 9 * dx - 4 * dy, y1 - 9 * dy + 4 * dx),
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self.parts.append(f'<polygon points="{path}" fill="{COLOURS[colour]}"/>')

    def save(self, script: str) -> None:
        """Write the SVG beside the script, or into the folder that the command names."""
        path = Path(script).with_suffix(".svg")
        if len(sys.argv) > 1:
            path = Path(sys.argv[1]) / path.name
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" font-family="system-ui, sans-serif">\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )
