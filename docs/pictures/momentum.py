"""Three momenta in the narrow valley, with the same learning rate."""

from math import sqrt

from drawing import Drawing

CURVATURE, RATE, STEPS = (1, 30), 0.03, 25  # as in valley.py
LEFT, SCALE = 220, (44, 50)

picture = Drawing(440, 535)


def descend(mu):
    theta, u = [-4.0, 1.0], [0.0, 0.0]
    yield theta
    for _ in range(STEPS):
        u = [mu * v + kappa * x for v, kappa, x in zip(u, CURVATURE, theta, strict=True)]
        theta = [x - RATE * v for x, v in zip(theta, u, strict=True)]
        yield theta


for number, (mu, colour) in enumerate(((0, "first"), (0.8, "second"), (0.96, "third"))):
    middle = 100 + 185 * number
    picture.text(6, middle - 84, f"momentum {mu}", size=17, anchor="start")
    for level in (0.1, 0.5, 2, 5, 9, 15):
        radii = [scale * sqrt(2 * level / k) for scale, k in zip(SCALE, CURVATURE, strict=True)]
        picture.parts.append(
            f'<ellipse cx="{LEFT}" cy="{middle}" rx="{min(radii[0], 218):.1f}" ry="{radii[1]:.1f}" '
            'fill="none" stroke="currentColor" stroke-opacity="0.4"/>'
        )
    path = [
        (round(LEFT + SCALE[0] * a, 1), round(middle - SCALE[1] * b, 1)) for a, b in descend(mu)
    ]
    picture.line(path, colour=colour, arrow=False)
    for x, y in path:
        picture.circle(x, y, 2, colour=colour)
    picture.line([(LEFT - 8, middle), (LEFT + 8, middle)], arrow=False)
    picture.line([(LEFT, middle - 8), (LEFT, middle + 8)], arrow=False)
picture.save(__file__)
