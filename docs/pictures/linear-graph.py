"""The computation graph of one linear layer and a loss: values forward, gradients back."""

from drawing import Drawing

picture = Drawing(440, 230)
for y, name, colour in ((40, "$x$", "first"), (115, "$W$", "third"), (190, "$b$", "third")):
    picture.circle(30, y, 22, name, colour=colour, size=18)
picture.box(140, 77, 62, 40, "$x W$", size=18)
picture.box(240, 115, 58, 40, "$+ b$", size=18)
picture.circle(325, 115, 22, "$y$", colour="first", size=18)
picture.box(407, 115, 44, 40, "$L$", colour="second", size=18)
for points in (
    [(52, 42), (109, 68)],
    [(52, 113), (109, 86)],
    [(171, 84), (211, 106)],
    [(52, 187), (211, 124)],
    [(269, 110), (303, 110)],
    [(347, 110), (385, 110)],
):
    picture.line(points)
for points in (
    [(385, 124), (346, 124)],
    [(304, 124), (269, 124)],
    [(211, 118), (166, 97)],
    [(118, 57), (52, 26)],
    [(118, 97), (52, 131)],
    [(218, 135), (52, 203)],
):
    picture.line(points, colour="second", dashed=True)
picture.text(366, 144, "$dy$", colour="second", size=18)
picture.text(96, 28, "$dx$", colour="second", size=18)
picture.text(98, 128, "$dW$", colour="second", size=18)
picture.text(150, 184, "$db$", colour="second", size=18)
picture.save(__file__)
