"""What the gates alone, and the gates with the path through W, leave of a gradient."""

from math import exp, log10

from drawing import Drawing

MOST, LEAST, OTHER = 2, -12, 0.18  # powers of ten; the factor of the other path, as measured
BIAS = 1

picture = Drawing(440, 276)


def at(steps, power):
    return round(50 + 3.8 * steps, 1), round(10 + 225 * (MOST - power) / (MOST - LEAST), 1)


for power in (2, 0, -3, -6, -9, -12):
    picture.line([at(0, power), at(100, power)], arrow=False, width=0.4)
    words = f"$10^{{{power}}}$".replace("-", "\N{MINUS SIGN}") if power else "1"
    picture.text(44, at(0, power)[1], words, size=14, anchor="end")
for steps in range(0, 101, 20):
    picture.text(min(at(steps, 0)[0], 426), 251, str(steps), size=14)
picture.text(240, 268, "steps back", size=14)
f = 1 / (1 + exp(-BIAS))
for factor, colour, name in ((f, "first", "f"), (f + OTHER, "second", "f + a")):
    slope = log10(factor)
    end = min(100, LEAST / slope)
    points = [at(0, 0), at(end, end * slope)]
    picture.line(points, colour=colour, dashed=name != "f", arrow=False)
    x, y = at(60, 60 * slope)
    picture.circle(x, y, 4, colour=colour)
    picture.text(x + 10, y - 12, f"${name}$", size=16, colour=colour, anchor="start")
picture.save(__file__)
