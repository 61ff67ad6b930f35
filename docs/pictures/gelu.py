"""GELU and relu (solid), and the slope of GELU (dashed)."""

import numpy as np
from drawing import Drawing

from minillm import ops

picture = Drawing(440, 296)


def place(x, y):
    return round(220 + 50 * x, 1), round(245 - 70 * y, 1)


x = np.linspace(-4, 3.3, 147)
y, backward = ops.gelu(x)
slope = backward(np.ones_like(x))
picture.line([place(-4.1, 0), place(4.1, 0)], width=1)
picture.line([place(0, -0.6), place(0, 3.3)], width=1)
for k in (-3, -2, -1, 1, 2, 3):
    picture.text(place(k, 0)[0], 262, str(k), size=15)
for k in (1, 2, 3):
    picture.text(208, place(0, k)[1], str(k), size=15, anchor="end")
relu = [place(-4, 0), place(0, 0), place(3.3, 3.3)]
picture.line(relu, colour="third", arrow=False, width=2)
picture.line([place(*p) for p in zip(x, y, strict=True)], colour="first", arrow=False, width=2.5)
picture.line(
    [place(*p) for p in zip(x, slope, strict=True)],
    colour="second", arrow=False, dashed=True, width=2,
)  # fmt: skip
picture.text(*place(1.4, 2.5), "relu", size=17, colour="third")
picture.text(*place(2.75, 2.05), "GELU", size=17, colour="first")
picture.text(*place(2.7, 0.72), "its slope", size=17, colour="second")
picture.save(__file__)
