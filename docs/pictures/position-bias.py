"""A judge on the sigmoid: the bonus b of the first place moves the advantage d up and down."""

from math import exp

from drawing import Drawing

D, B = 0.2, 0.8  # as in the cell of the chapter
picture = Drawing(520, 312)


def sigmoid(z):
    return 1 / (1 + exp(-z))


def at(z, p):
    return round(305 + 78 * z, 1), round(250 - 230 * p, 1)


picture.line([at(-2.5, 0), at(2.5, 0)], arrow=False)
picture.line([at(-2.5, 0), at(-2.5, 1)], arrow=False)
picture.line([at(-2.5, 0.5), at(2.5, 0.5)], arrow=False, width=0.5)
for p, name in ((0, "0"), (0.5, "1/2"), (1, "1")):
    picture.text(102, at(0, p)[1], name, size=16, anchor="end")
picture.line([at(k / 20, sigmoid(k / 20)) for k in range(-50, 51)], arrow=False, width=2.5)
for sign, colour, name, logit in (
    (1, "first", "P_1", "d + b"),
    (0, "plain", "σ(d)", "d"),
    (-1, "second", "P_2", "d − b"),
):
    z = D + sign * B
    p = sigmoid(z)
    picture.line([at(z, 0), at(z, p)], colour=colour, dashed=True, arrow=False)
    x, y = at(z, 0)
    picture.text(x, y + 18, f"${logit}$", size=17, colour=colour)
    picture.text(x, y + 42, f"{z:.1f}".replace("-", "−"), size=16, colour=colour)
    picture.circle(*at(z, p), 4, colour=colour)
    if sign:
        picture.line([at(z, p), at(-2.5, p)], colour=colour, dashed=True, arrow=False)
        picture.text(102, at(z, p)[1], f"${name}$ = {p:.2f}", size=16, colour=colour, anchor="end")
        picture.line([(at(D, 0)[0], 232), (x, 232)], colour=colour)
        picture.text((at(D, 0)[0] + x) / 2, 216, "$b$", size=17, colour=colour)
picture.text(310, 106, f"$σ(d)$ = {sigmoid(D):.2f}", size=16, anchor="end")
picture.save(__file__)
