"""Why a model forgets: away from the minimum, the old loss rises with the square of the way."""

from drawing import Drawing

OLD, NEW = 1.0, 1.5  # half the curvatures; the minima are at 0 and 1, in units of the whole way
picture = Drawing(480, 318)


def at(theta, loss):
    return round(135 + 190 * theta, 1), round(250 - 150 * loss, 1)


picture.line([(12, 250), (468, 250)])
picture.text(470, 236, "weights", size=15, anchor="end")
for low, high, half, minimum, colour in (
    (-56, 120, OLD, 0, "first"),
    (4, 170, NEW, 1, "second"),
):
    steps = (k / 100 for k in range(low, high + 1, 2))
    points = [at(theta, half * (theta - minimum) ** 2) for theta in steps]
    picture.line(points, colour=colour, arrow=False, width=2.5)
    picture.circle(*at(minimum, 0), 5, colour=colour)
for way in (0.5, 1):
    picture.line([at(way, 0), at(way, OLD * way**2)], colour="fourth")
    picture.circle(*at(way, OLD * way**2), 4, colour="first")
picture.text(216, 200, "$κ Δ^2 / 2$", size=16, colour="fourth", anchor="end")
picture.text(334, 142, "4 times that", size=16, colour="fourth", anchor="start")
for y, way, name in ((270, 0.5, "$Δ$"), (294, 1, "$2 Δ$")):
    picture.line([(135, y), (at(way, 0)[0], y)], colour="fourth")
    picture.text(at(way, 0)[0] + 8, y, name, size=17, colour="fourth", anchor="start")
picture.text(126, 282, "old minimum", size=15, colour="first", anchor="end")
picture.text(333, 270, "new minimum", size=15, colour="second", anchor="start")
picture.text(16, 184, "old loss", size=16, colour="first", anchor="start")
picture.text(155, 20, "new loss", size=16, colour="second", anchor="start")
picture.save(__file__)
