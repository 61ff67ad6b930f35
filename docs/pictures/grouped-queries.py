"""Heads that share keys and values: many, groups, one."""

from drawing import Drawing

picture = Drawing(440, 352)
for y, name, groups in ((52, "each its own", 4), (172, "grouped", 2), (292, "one for all", 1)):
    picture.text(8, y, name, size=17, anchor="start")
    for q in range(4):
        x = 165 + 72 * q
        picture.circle(x, y - 28, 19, "$q$", colour="first", size=17)
        group = q * groups // 4
        per = 4 // groups
        target = 165 + 72 * (group * per + (per - 1) / 2)
        picture.line([(x, y - 8), (target, y + 18)])
        if q % per == 0:
            picture.box(target, y + 36, 50, 34, "$k, v$", colour="third", size=17)
picture.save(__file__)
