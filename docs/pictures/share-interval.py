"""The interval of a share by Wilson, and by the standard deviation of the observed share."""

from math import sqrt

from drawing import Drawing

Z = 1.96
picture = Drawing(520, 346)


def x(p):
    return round(130 + 640 * (p - 0.5), 1)


for p in (0.5, 0.6, 0.7, 0.8, 0.9, 1):
    picture.line([(x(p), 24), (x(p), 300)], arrow=False, width=1 if p == 1 else 0.4)
    picture.text(x(p), 314, f"{p:.1f}", size=15)
for row, (k, n) in enumerate(((12, 12), (48, 48), (1000, 1000), (10, 12), (40, 48), (833, 1000))):
    y, s = 42 + 45 * row + 6 * (row > 2), k / n
    picture.text(112, y, f"{k:,} of {n:,}", size=15, anchor="end")
    error = Z * sqrt(s * (1 - s) / n)
    middle, wide = s + Z**2 / (2 * n), Z * sqrt(s * (1 - s) / n + Z**2 / (4 * n * n))
    low, high = ((middle + sign * wide) / (1 + Z**2 / n) for sign in (-1, 1))
    for up, colour, ends in ((-8, "first", (low, high)), (8, "second", (s - error, s + error))):
        picture.line([(x(p), y + up) for p in ends], colour=colour, arrow=False, width=4)
        for p in ends:
            picture.line([(x(p), y + up - 6), (x(p), y + up + 6)], colour=colour, arrow=False)
    picture.circle(x(s), y, 3)
picture.text(130, 12, "Wilson", size=16, colour="first", anchor="start")
picture.text(205, 12, "$s ± 1.96$ standard deviations", size=16, colour="second", anchor="start")
picture.text(290, 334, "probability $p$", size=15)
picture.save(__file__)
