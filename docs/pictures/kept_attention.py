"""Draw the attention weights that a JSON file beside a script keeps."""

import json
from pathlib import Path

from drawing import Drawing
from heat_map import colour_bar, heat_map


def draw(script: str, left: int, top: int, cell: float, turned: bool) -> None:
    """Draw a row for each target token and a column for each source token."""
    kept = json.loads(Path(script).with_suffix(".json").read_text())
    source, target, weights = kept["source"], kept["target"], kept["weights"]
    height = cell * len(target)
    picture = Drawing(440, round(top + height + 6))
    heat_map(picture, left, top, cell, weights, target, [] if turned else source, font=16)
    for s, token in enumerate(source if turned else ()):
        x, y = left + cell * (s + 0.5) + 6, top - 6
        picture.parts.append(
            f'<text x="{x:.1f}" y="{y}" font-size="16" transform="rotate(-90 {x:.1f} {y})">'
            f"{token}</text>"
        )
    colour_bar(picture, left + cell * len(source) + 12, top, min(height, 220))
    picture.save(script)
