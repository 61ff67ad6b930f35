"""A tile of a matrix product in registers: what each step along the depth loads."""

from drawing import Drawing

picture = Drawing(440, 330)
picture.text(80, 18, "A", size=18)
picture.text(300, 18, "B", size=18)
picture.box(80, 250, 130, 130, size=17)
picture.box(80, 225, 130, 40, colour="first")
picture.box(60, 225, 14, 40, colour="second")
picture.text(80, 326 - 5, "rows by depth", size=17)
picture.box(300, 90, 230, 116, size=17)
picture.box(270, 90, 70, 116, colour="first")
picture.box(270, 74, 70, 14, colour="second")
picture.text(370, 90, "depth", size=17)
picture.box(300, 250, 230, 130)
picture.box(270, 225, 70, 40, "tile", colour="third", size=17)
picture.text(370, 290, "C = A B", size=17)
picture.line([(67, 225), (233, 225)], colour="second", dashed=True)
picture.line([(270, 82), (270, 203)], colour="second", dashed=True)
picture.text(110, 60, "one step of", size=17, colour="second")
picture.text(110, 82, "the depth", size=17, colour="second")
picture.save(__file__)
