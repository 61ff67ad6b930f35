"""A pre-norm block: the stream upwards, two branches, and the gradient back along the stream."""

from drawing import Drawing

picture = Drawing(440, 560)
X = 120  # the stream
picture.text(X, 543, "$x$", size=18, colour="first")
picture.text(X, 14, "$y$", size=18, colour="first")
picture.line([(X, 528), (X, 321)], colour="first", width=3)
picture.line([(X, 289), (X, 81)], colour="first", width=3)
picture.line([(X, 49), (X, 28)], colour="first", width=3)
for y, branch in ((305, "attention"), (65, "feed-forward")):
    picture.circle(X, y, 16, "+", size=20)
    picture.line([(X, y + 185), (280, y + 185), (280, y + 155)])
    picture.box(280, y + 135, 130, 38, "norm", size=18, colour="third")
    picture.line([(280, y + 116), (280, y + 89)])
    picture.box(280, y + 68, 150, 40, branch, size=18, colour="second")
    picture.line([(280, y + 48), (280, y), (X + 16, y)])
picture.line([(58, 40), (58, 520)], colour="fourth", dashed=True, width=3)
picture.text(40, 16, "$dy$", size=18, colour="fourth")
picture.text(40, 543, "$dx$", size=18, colour="fourth")
for y in (305, 65):
    picture.line([(395, y), (395, y + 204)], colour="fourth", dashed=True)
    picture.line([(395, y + 204), (66, y + 204)], colour="fourth", dashed=True)
    picture.line([(66, y - 22), (395, y - 22), (395, y)], colour="fourth", dashed=True, arrow=False)
picture.save(__file__)
