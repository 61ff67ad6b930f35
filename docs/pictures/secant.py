"""The central difference is the slope of the secant through two points beside x."""

from drawing import Drawing

WIDTH, HEIGHT, LEFT, RIGHT = 440, 300, 70, 370  # at LEFT and RIGHT: x - eps and x + eps


def height(at):
    """A cubic, which is drawn between 20 and 420."""
    z = (at - 220) / 100
    return 185 - 30 * z - 14 * z * z - 4 * z**3


picture = Drawing(WIDTH, HEIGHT)
picture.line([(at, round(height(at), 1)) for at in range(20, 421, 5)], arrow=False, width=2.5)
slope = (height(RIGHT) - height(LEFT)) / (RIGHT - LEFT)


def straight(through, slope, first, last, colour):
    ends = [(at, round(height(through) + slope * (at - through), 1)) for at in (first, last)]
    picture.line(ends, colour=colour, arrow=False, width=2)


straight(LEFT, slope, 20, 420, "second")  # the secant
straight(220, -0.3, 60, 380, "first")  # the tangent
for at, name in ((LEFT, "$x − ε$"), (220, "$x$"), (RIGHT, "$x + ε$")):
    picture.line([(at, round(height(at), 1)), (at, 262)], dashed=True, arrow=False)
    picture.text(at, 280, name, size=17)
    picture.circle(at, round(height(at), 1), 4, colour="second" if at != 220 else "first")
picture.text(140, 160, "secant", size=16, colour="second")
picture.text(305, 186, "tangent", size=16, colour="first")
picture.text(400, 28, "$L$", size=18)
picture.save(__file__)
