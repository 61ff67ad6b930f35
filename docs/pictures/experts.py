"""A mixture of experts: the router chooses two of four, and weighs their outputs."""

from drawing import Drawing

picture = Drawing(440, 340)
picture.text(220, 324, "$x$", size=18, colour="first")
picture.text(220, 14, "$y$", size=18, colour="first")
picture.circle(220, 62, 16, "+", size=20)
picture.line([(220, 46), (220, 26)], colour="first")
for number, x in enumerate((60, 150, 240, 330), 1):
    chosen = number in (2, 4)
    picture.line([(220, 310), (x, 247)], dashed=not chosen, arrow=chosen)
    name = f"$f_{number}$"
    colour = "third" if chosen else "plain"
    picture.box(x, 228, 62, 36, name, size=17, colour=colour, dashed=not chosen)
    if chosen:
        picture.line([(x, 209), (x, 160)])
        picture.circle(x, 143, 15, "×", size=18, colour="second")
        picture.line([(x, 128), (220 + (x - 220) * 0.1, 78)])
picture.line([(220, 310), (405, 310), (405, 282)])
picture.box(400, 264, 76, 34, "router", size=16, colour="second")
picture.line([(405, 247), (405, 143), (347, 143)], colour="second")
picture.text(385, 128, "$p_4$", size=16, colour="second")
picture.line([(405, 185), (195, 185), (195, 143), (166, 143)], colour="second")
picture.text(181, 128, "$p_2$", size=16, colour="second")
picture.save(__file__)
