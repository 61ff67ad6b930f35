"""Which keys each query may look at, in the three attentions of a Transformer."""

from drawing import Drawing

picture = Drawing(440, 640)
KINDS = (
    ("encoder, to itself", "source", "source", lambda t, s: s < 4),
    ("decoder, to itself", "target", "target", lambda t, s: s <= t),
    ("decoder, to the memory", "target", "source", lambda t, s: s < 4),
)
SIZE, LEFT = 30, 130
for number, (title, queries, keys, allowed) in enumerate(KINDS):
    top = 56 + 214 * number
    picture.text(LEFT + 2.5 * SIZE, top - 40, title, size=18)
    picture.text(LEFT + 2.5 * SIZE, top - 14, f"keys: {keys}", size=16, colour="first")
    picture.text(
        LEFT - 12, top + 2.5 * SIZE - 10, "queries:", size=16, colour="second", anchor="end"
    )
    picture.text(LEFT - 12, top + 2.5 * SIZE + 12, queries, size=16, colour="second", anchor="end")
    for t in range(5):
        for s in range(5):
            opacity = 0.65 if allowed(t, s) else 0.06
            picture.parts.append(
                f'<rect x="{LEFT + SIZE * s + 1}" y="{top + SIZE * t + 1}" width="{SIZE - 2}" '
                f'height="{SIZE - 2}" style="fill:var(--first, #1f6fb4)" '
                f'fill-opacity="{opacity}" stroke="currentColor" stroke-opacity="0.4"/>'
            )
    words = ("later", "tokens") if "itself" in title and queries == "target" else ("padding", "")
    for line, word in enumerate(words):
        picture.text(LEFT + 5 * SIZE + 62, top + 54 + 22 * line, word, size=16)
    picture.line([(LEFT + 5 * SIZE + 20, top + 54), (LEFT + 5 * SIZE - 8, top + 54)])
picture.save(__file__)
