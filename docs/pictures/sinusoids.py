"""The sinusoidal position vectors of 32 positions, 16 wide: blue above zero, brown below."""

import numpy as np
from drawing import COLOURS, Drawing

from minillm.layers.positions import sinusoids

picture = Drawing(440, 420)
P, WIDTH, HEIGHT = sinusoids(np.arange(32), 16), 23, 11
picture.text(70 + 8 * WIDTH, 14, "column", size=17)
picture.text(58, 52, "$t = 0$", size=16, anchor="end")
picture.text(58, 46 + 31 * HEIGHT + 6, "31", size=16, anchor="end")
for t, row in enumerate(P):
    for column, value in enumerate(row):
        colour = COLOURS["first" if value >= 0 else "second"]
        picture.parts.append(
            f'<rect x="{66 + WIDTH * column}" y="{46 + HEIGHT * t}" width="{WIDTH - 1}" '
            f'height="{HEIGHT - 1}" style="fill:{colour}" fill-opacity="{abs(value):.2f}"/>'
        )
for column in (0, 1, 14, 15):
    picture.text(66 + WIDTH * column + WIDTH / 2, 35, str(column), size=15)
picture.save(__file__)
