"""Draw what stands for a page of ``minillm look`` on paper: its losses, and what is inside.

The numbers are the page's, in docs/outputs/look (docs/machinery/looks.py).
"""

import base64
import json
from pathlib import Path

from drawing import COLOURS, Drawing
from heat_map import colour_bar

KEPT = Path(__file__).resolve().parents[1] / "outputs" / "look"
WIDTH, LEFT = 440, 8


def draw(script: str) -> None:
    """Draw the picture of a script that is called ``look-NAME.py``."""
    page = json.loads((KEPT / f"{Path(script).stem.removeprefix('look-')}.json").read_text())
    picture = Drawing(WIDTH, 0)
    top = strip(picture, page)
    if page["activity"]:
        bottom = gates(picture, page, top)
    elif page["attention"]:
        bottom = attention(picture, page, top)
    else:
        bottom = contexts(picture, page, top)
    picture.height = round(bottom)
    picture.save(script)


def strip(picture: Drawing, page: dict) -> float:
    """The tokens, darker the larger their loss is; return what is below them."""
    picture.text(LEFT, 12, "loss, in nats", anchor="start", size=15)
    x, y, wide = LEFT, 30.0, page["unit"] != "character"
    for token, loss in zip(page["tokens"]["text"], page["losses"], strict=True):
        width = max(17, 9 * len(token) + 8) if wide else 17
        if x + width > WIDTH - 4:
            x, y = LEFT, y + 46
        share = 0 if loss is None else min(1, loss / 6)
        picture.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="24" stroke="currentColor" '
            f'stroke-opacity="0.15" style="fill:{COLOURS["second"]}" fill-opacity="{share:.2f}"/>'
        )
        picture.text(x + width / 2, y + 12, token.replace(" ", "·"), size=14)
        if loss is not None and (wide or loss >= 1):
            picture.text(x + width / 2, y + 34, f"{loss:.1f}" if wide else f"{loss:.0f}", size=14)
        x += width
    return y + 60


def gates(picture: Drawing, page: dict, top: float) -> float:
    """The mean of each gate over the text."""
    values = page["activity"][0]["values"]
    names = [name for name in values if name in "ifo"]
    step, low = (WIDTH - 50) / len(page["tokens"]["text"]), top + 130
    picture.text(LEFT, top, "gates, the mean of all units", anchor="start", size=15)
    for level in (0, 0.5, 1):
        y = low - 110 * level
        picture.line([(34, y), (WIDTH - 6, y)], arrow=False, width=0.5)
        picture.text(28, y, f"{level:g}", anchor="end", size=14)
    for name, colour in zip(names, ("first", "second", "third"), strict=True):
        points = [
            (round(36 + step * (t + 0.5), 1), round(low - 110 * mean, 1))
            for t, mean in enumerate(values[name]["mean"])
        ]
        picture.line(points, colour=colour, arrow=False, width=2)
    words = {"i": "input gate $i$", "f": "forget gate $f$", "o": "output gate $o$"}
    for k, (name, colour) in enumerate(zip(names, ("first", "second", "third"), strict=True)):
        picture.text(40 + 140 * k, low + 18, words[name], anchor="start", colour=colour, size=14)
    return low + 32


def attention(picture: Drawing, page: dict, top: float) -> float:
    """The mean of the heads of the last layer but one, or of the only one."""
    part = page["attention"][0]
    rows, columns = (page["tokens"][part[side]] for side in ("queries", "keys"))
    layer = max(0, len(part["weights"]) - (2 if len(part["weights"]) > 2 else 1))
    heads = [base64.b64decode(head) for head in part["weights"][layer]]
    count = len(columns)
    weights = [
        [sum(head[t * count + s] for head in heads) / len(heads) / 255 for s in range(count)]
        for t in range(len(rows))
    ]
    words = f"attention, layer {layer + 1}, the mean of its {len(heads)} heads"
    picture.text(LEFT, top, words, anchor="start", size=15)
    long = max(map(len, rows))
    left = LEFT + 14 + 8 * long if long > 1 else LEFT
    cell = round(min(26, (380 - left) / count), 1)
    below = top + (16 if long == 1 else 24 + 8 * max(map(len, columns)))
    height = cell * len(rows)
    frame = f'x="{left}" y="{below}" width="{cell * count:.1f}" height="{height:.1f}"'
    picture.parts.append(f'<rect {frame} fill="none" stroke="currentColor" stroke-opacity="0.4"/>')
    for t, row in enumerate(weights):
        if long > 1:
            picture.text(left - 8, below + cell * (t + 0.5), rows[t], size=14, anchor="end")
        for s, weight in enumerate(row):
            if weight >= 0.02:
                picture.parts.append(
                    f'<rect x="{left + cell * s:.1f}" y="{below + cell * t:.1f}" width="{cell}" '
                    f'height="{cell}" style="fill:{COLOURS["first"]}" fill-opacity="{weight:.2f}"/>'
                )
    for s, token in enumerate(columns if long > 1 else ()):
        x, y = left + cell * (s + 0.5) + 5, below - 6
        picture.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="14" '
            f'transform="rotate(-90 {x:.1f} {y:.1f})">{token}</text>'
        )
    colour_bar(picture, left + cell * count + 12, below, min(height, 200))
    return below + height + 6


def contexts(picture: Drawing, page: dict, top: float) -> float:
    """The length of the context that was found before each token."""
    found = page["contexts"][: len(page["tokens"]["text"])]
    step, low, most = (WIDTH - 50) / len(found), top + 130, max(found)
    picture.text(LEFT, top, "tokens of the longest known context", anchor="start", size=15)
    for level in range(most + 1):
        y = low - 110 * level / most
        picture.line([(34, y), (WIDTH - 6, y)], arrow=False, width=0.5)
        picture.text(28, y, f"{level}", anchor="end", size=14)
    for t, length in enumerate(found):
        height = 110 * length / most
        picture.parts.append(
            f'<rect x="{36 + step * t:.1f}" y="{low - height:.1f}" width="{step - 1:.1f}" '
            f'height="{height:.1f}" style="fill:{COLOURS["first"]}" fill-opacity="0.7"/>'
        )
    return low + 12
