"""How the first token reaches the last: through a recurrence, convolutions and attention."""

from itertools import pairwise

from drawing import Drawing

picture = Drawing(440, 470)
XS = [34 + 53 * n for n in range(8)]


def tokens(y, marked=()):
    for n, x in enumerate(XS):
        picture.circle(x, y, 9, colour="second" if n in marked else "plain")


def rise(start, end, y, height, marked):
    """An arrow from a token to one of the layer above."""
    colour, width = ("second", 2.5) if marked else ("plain", 0.7)
    points = [(XS[start], y - 10), (XS[end], y - height + 10)]
    picture.line(points, colour=colour, width=width, arrow=marked)


picture.text(8, 16, "recurrence: 7 steps, one after the other", size=16, anchor="start")
tokens(56, range(8))
for x, end in pairwise(XS):
    picture.line([(x + 10, 56), (end - 10, 56)], colour="second", width=2.5)

picture.text(8, 110, "convolutions of width 2: 3 layers", size=16, anchor="start")
for layer, (y, apart) in enumerate(((322, 1), (262, 2), (202, 4))):
    path = (0, 1, 3, 7)
    tokens(y, (path[layer],))
    for end in range(8):
        for start in {end, end - apart} - set(range(-8, 0)):
            rise(start, end, y, 60, (start, end) == path[layer : layer + 2])
tokens(142, (7,))

picture.text(8, 362, "attention: 1 layer", size=16, anchor="start")
tokens(456, (0,))
tokens(392, (7,))
for start in range(8):
    for end in range(8):
        rise(start, end, 456, 64, False)
rise(0, 7, 456, 64, True)
picture.save(__file__)
