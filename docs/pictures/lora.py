"""LoRA: a frozen matrix, and two thin ones beside it that are trained."""

from drawing import Drawing

picture = Drawing(440, 400)
picture.circle(210, 370, 22, "$x$", colour="first", size=18)
picture.box(120, 215, 150, 150, "", size=18, dashed=True)
picture.text(120, 198, "$W$", size=20)
picture.text(120, 224, "384 × 384", size=17)
picture.text(120, 250, "frozen", size=17, italic=True)
picture.box(320, 258, 62, 64, "$A$", colour="third", size=20)
picture.text(358, 258, "384 × 8", size=17, anchor="start")
picture.box(320, 162, 62, 64, "$B$", colour="third", size=20)
picture.text(358, 162, "8 × 384", size=17, anchor="start")
picture.circle(210, 85, 18, "+", size=20)
picture.circle(210, 24, 20, "$y$", colour="first", size=18)
for points in (
    [(196, 352), (140, 292)],
    [(224, 352), (304, 292)],
    [(312, 226), (312, 195)],
    [(135, 139), (196, 98)],
    [(303, 129), (226, 94)],
    [(210, 67), (210, 45)],
):
    picture.line(points)
for points in (
    [(222, 42), (222, 70)],
    [(231, 85), (318, 125)],
    [(328, 195), (328, 226)],
    [(324, 292), (236, 364)],
    [(190, 88), (110, 139)],
    [(116, 292), (187, 364)],
):
    picture.line(points, colour="second", dashed=True)
picture.text(248, 55, "$dy$", colour="second", size=18)
picture.text(405, 200, "$dA, dB$", colour="second", size=18)
picture.text(312, 342, "$dx$", colour="second", size=18)
picture.text(120, 342, "$dx$", colour="second", size=18)
picture.text(352, 106, "$α / r$", size=18)
picture.save(__file__)
