"""How a smoothed n-gram divides its probability: a share for what was seen, the rest goes down."""

from drawing import Drawing

picture = Drawing(440, 400)
for row, (context, counts) in enumerate(
    (("abra", "seen: c 1"), ("bra", "seen: c 1"), ("ra", "seen: c 1"), ("a", "seen: b 2, c 1, d 1"))
):
    y = 32 + 78 * row
    picture.text(22, y, f"after {context}", size=17, anchor="start", italic=True)
    picture.box(285, y, 290, 40, colour="plain")
    picture.box(235, y, 190, 40, counts, colour="first", size=17)
    picture.text(380, y, "leftover", size=17, colour="second")
    picture.line([(380, y + 22), (380, y + 56)], colour="second", dashed=True)
y = 32 + 78 * 4
picture.text(22, y, "after anything", size=17, anchor="start", italic=True)
picture.box(315, y, 230, 40, "all V words alike: 1 / V", size=17)
picture.text(235, y + 38, "", size=17)
picture.save(__file__)
