"""One token's query meets the keys of all tokens; the weights mix the values."""

from drawing import Drawing

picture = Drawing(440, 392)
picture.text(220, 18, "$x$ of “it” times $W_q$ = query $q$", colour="second", size=18)
picture.line([(120, 34), (120, 70)], colour="second")
for x, words, colour in (
    (120, "keys $k$", "first"),
    (245, "weights", "second"),
    (370, "values $v$", "third"),
):
    picture.text(x, 88, words, colour=colour, size=17)
rows = (("the", 0.04), ("cat", 0.78), ("saw", 0.06), ("it", 0.12))
for number, (token, weight) in enumerate(rows):
    y = 126 + 50 * number
    picture.text(34, y, token, size=18, italic=True)
    picture.box(120, y, 90, 34, f"$k_{number + 1}$", colour="first", size=18)
    width = 92 * weight
    picture.parts.append(
        f'<rect x="200" y="{y - 9}" width="{width:.1f}" height="18" '
        'style="fill:var(--second, #b3541e)" fill-opacity="0.6"/>'
    )
    picture.text(200 + width + 6, y, f"{weight:.2f}", size=16, anchor="start")
    picture.box(370, y, 90, 34, f"$v_{number + 1}$", colour="third", size=18)
picture.line([(120, 296), (120, 322), (245, 322), (245, 300)], colour="second")
picture.text(182, 342, "softmax of $q · k$", colour="second", size=17)
picture.line([(370, 296), (370, 356)], colour="third")
picture.text(430, 374, "$y =$ sum of $w v$", colour="third", size=18, anchor="end")
picture.save(__file__)
