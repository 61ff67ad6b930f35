"""A tile of a matrix product in registers: what each step along the depth loads."""

from drawing import Drawing

picture = Drawing(440, 340)
picture.text(300, 16, "$B$", size=18)
picture.box(300, 88, 230, 116)
picture.box(270, 88, 70, 116, colour="first")
picture.box(270, 72, 70, 14, colour="second")
picture.text(362, 88, "depth", size=17)
picture.text(80, 172, "$A$", size=18)
picture.box(80, 258, 130, 146)
picture.box(80, 233, 130, 40, colour="first")
picture.box(60, 233, 14, 40, colour="second")
picture.text(80, 300, "depth", size=17)
picture.box(300, 258, 230, 146)
picture.box(270, 233, 70, 40, "tile", colour="third", size=17)
picture.text(370, 304, "$C = A B$", size=17)
picture.line([(67, 233), (233, 233)], colour="second", dashed=True)
picture.line([(270, 80), (270, 211)], colour="second", dashed=True)
picture.text(85, 60, "one step of", size=17, colour="second")
picture.text(85, 82, "the depth", size=17, colour="second")
picture.save(__file__)
