"""Two steps of writing with a cache: only the newest token is computed."""

from drawing import COLOURS, Drawing

picture = Drawing(440, 500)


def cell(x, y, kept):
    colour = COLOURS["first" if kept else "second"]
    picture.parts.append(
        f'<rect x="{x}" y="{y}" width="34" height="34" rx="4" style="fill:{colour}" '
        f'fill-opacity="{0.18 if kept else 0.6}" stroke="{colour}" stroke-width="1.5"/>'
    )


tokens = ("the", "cat", "sat", "on", "a")
for step, top in ((3, 40), (4, 272)):
    x = 92 + 64 * step
    for s in range(step + 1):
        picture.text(109 + 64 * s, top - 14, tokens[s], size=18, italic=True)
        for row in (0, 1):
            cell(92 + 64 * s, top + 8 + 48 * row, s < step)
        picture.line([(x + 17, top + 140), (109 + 64 * s, top + 94)], width=1.2, colour="second")
    picture.text(70, top + 25, "keys", size=17, anchor="end")
    picture.text(70, top + 73, "values", size=17, anchor="end")
    picture.box(x + 17, top + 158, 44, 36, "$q$", size=18, colour="second")
    picture.text(70, top + 158, "query", size=17, anchor="end")
picture.text(24, 482, "kept", size=17, colour="first", anchor="start")
picture.text(92, 482, "computed in this step", size=17, colour="second", anchor="start")
picture.save(__file__)
