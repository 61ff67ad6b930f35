"""Random directions: those that miss an error lie within a small angle of the first axis."""

from math import radians, tan

from drawing import Drawing

picture = Drawing(440, 250)
X, Y, REACH, ANGLE = 210, 125, 150, 14
rise = REACH * tan(radians(ANGLE))
for side in (1, -1):
    for up in (1, -1):
        end = (X + side * REACH, Y - up * rise)
        picture.line([(X, Y), end], colour="second", arrow=False)
    ends = [(X + side * REACH, Y - rise), (X + side * REACH, Y + rise)]
    picture.line(ends, colour="second", dashed=True, arrow=False)
picture.line([(X - 190, Y), (X + 190, Y)])
picture.line([(X, Y + 105), (X, Y - 105)])
picture.text(X + 205, Y, "$z_1$", size=17)
picture.text(X, Y - 115, "$z_2$", size=17)
picture.line([(X, Y), (X - 62, Y - 84)], colour="third", width=2)
picture.text(X - 110, Y - 92, "found", size=15, colour="third")
picture.line([(X, Y), (X + 120, Y - 14)], colour="second", width=2)
picture.text(X + 115, Y - 56, "missed", size=15, colour="second")
picture.text(X + 115, Y + 62, "arctan(tol / $ρ$)", size=15, colour="second")
picture.save(__file__)
