"""The shapes of a task: one or many inputs, one or many outputs."""

from drawing import Drawing

picture = Drawing(440, 636)


def network(left, top, title, inputs, outputs, states, feed=False):
    """Draw a chain of states with its inputs below and its outputs above."""
    picture.text(left, top, title, size=18, anchor="start")
    places = [left + 28 + 64 * n for n in range(states)]
    for n, x in enumerate(places):
        picture.box(x, top + 110, 40, 34, colour="third")
        if n:
            picture.line([(places[n - 1] + 20, top + 110), (x - 20, top + 110)])
        if n in outputs:
            picture.circle(x, top + 48, 16, "$y$", colour="second", size=17)
            picture.line([(x, top + 93), (x, top + 65)])
        if n in inputs:
            picture.circle(x, top + 170, 16, "$x$", colour="first", size=17)
            picture.line([(x, top + 154), (x, top + 128)])
    for n in outputs[:-1] if feed else ():
        x, end = places[n], places[n + 1]
        path = [(x + 16, top + 52), (x + 32, top + 58), (x + 32, top + 146), (end, top + 146)]
        picture.line([*path, (end, top + 128)], colour="second", dashed=True)


network(6, 16, "one to one", [0], [0], 1)
network(230, 16, "one to many", [0], [0, 1, 2], 3, feed=True)
network(6, 230, "many to one", [0, 1, 2], [2], 3)
network(230, 230, "many to many, aligned", [0, 1, 2], [0, 1, 2], 3)
network(6, 444, "many to many, encoder-decoder", [0, 1, 2], [3, 4, 5], 6, feed=True)
picture.save(__file__)
