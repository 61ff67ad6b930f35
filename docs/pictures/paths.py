"""A change of one x reaches the loss on three paths, whose effects add up."""

from drawing import Drawing

picture = Drawing(440, 260)
for y, k in ((45, 1), (130, 2), (215, 3)):
    picture.circle(220, y, 24, f"$y_{k}$", colour="first", size=18)
    start = {45: (58, 116), 130: (62, 130), 215: (58, 144)}[y]
    picture.line([start, (196, y)])
    picture.line([(244, y), (383, {45: 118, 130: 130, 215: 142}[y])])
    lower = {45: 62, 130: 117, 215: 200}[y]
    picture.text(112, lower, f"$∂ y_{k} / ∂ x$", size=15)
    picture.text(328, lower, f"$dy_{k}$", size=18, colour="second")
picture.circle(38, 130, 24, "$x$", colour="first", size=18)
picture.box(405, 130, 44, 40, "$L$", colour="second", size=18)
picture.save(__file__)
