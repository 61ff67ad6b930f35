"""The parts that both pictures of the LSTM cell share: its boxes and where they stand."""

from drawing import Drawing

GATES = {"f": 95, "i": 185, "g": 265, "o": 330}


def cell() -> Drawing:
    """A canvas with the boxes of a cell, without arrows."""
    picture = Drawing(440, 450)
    for gate, x in GATES.items():
        picture.box(x, 275, 44, 36, f"${gate}$", colour="third", size=18)
        picture.text(x, 304, "$tanh$" if gate == "g" else "$σ$", size=15)
    for x, y, sign in ((95, 55, "×"), (225, 55, "+"), (225, 180, "×"), (385, 205, "×")):
        picture.circle(x, y, 16, sign, size=20)
    picture.box(385, 125, 56, 34, "$tanh$", size=16)
    picture.box(212, 355, 300, 40, "$a = x W_x + h_{t−1} W_h + b$", size=18)
    picture.circle(110, 424, 20, "$x$", colour="first", size=18)
    picture.box(310, 424, 80, 36, "$h_{t−1}$", colour="first", size=18)
    return picture
