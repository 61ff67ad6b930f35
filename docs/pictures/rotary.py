"""A query and a key, turned by their positions, and their score against the distance."""

from math import cos, hypot, sin, sqrt

from drawing import Drawing

QUERY, KEY, THETA, T, DISTANCE = (2, 0), (1, 1), 0.1, 5, 10

picture = Drawing(440, 250)


def turned(vector, angle):
    a, b = vector
    return a * cos(angle) - b * sin(angle), a * sin(angle) + b * cos(angle)


def score(distance):
    q, k = turned(QUERY, T * THETA), turned(KEY, (T + distance) * THETA)
    return q[0] * k[0] + q[1] * k[1]


def point(vector):
    return round(110 + 42 * vector[0], 1), round(116 - 42 * vector[1], 1)


def at(distance, value):
    return round(335 + 4.9 * distance, 1), round(114 - 30 * value, 1)


for radius in (2, sqrt(2)):
    picture.parts.append(
        f'<circle cx="110" cy="116" r="{42 * radius:.1f}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.25"/>'
    )
for name, vector, position, colour in (
    ("q", QUERY, T, "first"),
    ("k", KEY, T + DISTANCE, "second"),
):
    head = turned(vector, position * THETA)
    picture.line([point((0, 0)), point(vector)], dashed=True, arrow=False, width=0.8)
    picture.line([point((0, 0)), point(head)], colour=colour, width=2)
    beyond = 1 + 0.3 / hypot(*head)
    picture.text(*point([beyond * x for x in head]), f"${name}$", size=16, colour=colour)
for value in (-2, 0, 2):
    picture.line([at(-20, value), at(20, value)], arrow=False, width=0.4)
    words = str(value).replace("-", "\N{MINUS SIGN}")
    picture.text(at(-20, 0)[0] - 6, at(0, value)[1], words, size=14, anchor="end")
for distance in (-20, 0, 20):
    words = str(distance).replace("-", "\N{MINUS SIGN}")
    picture.text(min(at(distance, 0)[0], 424), 214, words, size=14)
picture.text(335, 234, "distance", size=14)
picture.text(335, 12, "score", size=14)
picture.line([at(d / 2, score(d / 2)) for d in range(-40, 41)], arrow=False, width=2)
picture.circle(*at(DISTANCE, score(DISTANCE)), 6)
picture.save(__file__)
