"""How a smoothed n-gram divides its probability: a share for what was seen, the rest goes down."""

from drawing import Drawing

picture = Drawing(440, 420)
for row, (context, counts) in enumerate(
    (
        ("after abra", "seen: c 1"),
        ("after bra", "seen: c 1"),
        ("after ra", "seen: c 1"),
        ("after a", "seen: b 2, c 1, d 1"),
        ("after nothing", "seen: a, b, c, d, r"),
    )
):
    y = 30 + 72 * row
    picture.text(8, y, context, size=17, anchor="start", italic=True)
    picture.box(285, y, 290, 40)
    picture.box(235, y, 190, 40, counts, colour="first", size=17)
    picture.text(380, y, "leftover", size=17, colour="second")
    picture.line([(380, y + 20), (380, y + 52)], colour="second", dashed=True)
picture.text(8, 390, "at last", size=17, anchor="start", italic=True)
picture.box(315, 390, 230, 40, "all $V$ alike: $1 / V$", size=17)
picture.save(__file__)
