"""Draw where each word of a subject line comes from, as the model of chapter 12 sees it.

The attention and the responsibilities of the chapter's model are kept in a file.
"""

import json
from pathlib import Path

from drawing import COLOURS, Drawing
from heat_map import heat_map

CELL, LEFT, TOP = 18, 76, 76
kept = json.loads(Path(__file__).with_suffix(".json").read_text())
source, target = kept["source"], kept["target"]
picture = Drawing(440, TOP + CELL * len(target) + 8)
heat_map(picture, LEFT, TOP, CELL, kept["weights"], target, [], font=16)
for s, word in enumerate(source):
    x, y = LEFT + CELL * (s + 0.5) + 6, TOP - 6
    picture.parts.append(
        f'<text x="{x:.1f}" y="{y}" font-size="16" transform="rotate(-90 {x:.1f} {y})">'
        f"{word}</text>"
    )
left = LEFT + CELL * len(source) + 10
picture.text(left, TOP - 14, "copied", size=16, anchor="start", colour="second")
for t, share in enumerate(kept["copied"]):
    for width, opacity in ((50, 0.12), (50 * share, 0.9)):
        picture.parts.append(
            f'<rect x="{left}" y="{TOP + CELL * t + 4}" width="{width:.1f}" height="{CELL - 8}" '
            f'style="fill:{COLOURS["second"]}" fill-opacity="{opacity}"/>'
        )
picture.save(__file__)
