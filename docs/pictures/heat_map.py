"""Heat maps of attention weights on a drawing."""

from drawing import COLOURS


def heat_map(picture, left, top, size, weights, rows, columns, font=17):
    """Draw a row of squares for each query and a column for each key, with their tokens."""
    for s, token in enumerate(columns):
        picture.text(left + size * (s + 0.5), top - 12, token, size=font)
    for t, token in enumerate(rows):
        picture.text(left - 10, top + size * (t + 0.5), token, size=font, anchor="end")
        for s, weight in enumerate(weights[t]):
            _square(picture, left + size * s, top + size * t, size, weight)


def colour_bar(picture, x, top, height):
    """Draw what the colours mean, from weight 1 down to 0."""
    for step in range(20):
        _square(picture, x, top + height * step / 20, height / 20, 1 - (step + 0.5) / 20, 14)
    for weight in (0, 0.5, 1):
        place = top + height * (1 - weight)
        picture.text(x + 20, place, f"{weight:g}", size=16, anchor="start")


def _square(picture, x, y, height, weight, width=None):
    picture.parts.append(
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width or height:.1f}" height="{height:.1f}" '
        f'style="fill:{COLOURS["first"]}" fill-opacity="{weight:.2f}" '
        'stroke="currentColor" stroke-opacity="0.15"/>'
    )
