"""A recurrent network unrolled over three steps: values forward, gradients back, one W_h."""

from drawing import Drawing

picture = Drawing(440, 330)
columns = (105, 230, 355)
picture.text(22, 165, "$h_0$", size=18)
for t, x in enumerate(columns, 1):
    picture.circle(x, 285, 22, f"$x_{t}$", colour="first", size=18)
    picture.box(x, 165, 58, 44, f"$h_{t}$", size=18)
    picture.box(x, 45, 58, 40, f"$L_{t}$", colour="second", size=18)
    picture.line([(x - 9, 262), (x - 9, 187)])
    picture.line([(x - 9, 143), (x - 9, 65)])
    picture.line([(x + 11, 65), (x + 11, 143)], colour="second", dashed=True)
    picture.line([(x + 11, 187), (x + 11, 265)], colour="second", dashed=True)
    picture.text(x - 30, 226, "$W_x$", colour="third", size=17)
    start = (columns[t - 2] + 29) if t > 1 else 40
    picture.line([(start, 158), (x - 29, 158)])
    picture.line([(x - 29, 173), (start, 173)], colour="second", dashed=True)
    picture.text((start + x - 29) / 2, 138, "$W_h$", colour="third", size=17)
picture.text(168, 196, "$da_2 W_h^⊤$", colour="second", size=14)
picture.text(293, 196, "$da_3 W_h^⊤$", colour="second", size=14)
picture.text(393, 104, "$dhs_3$", colour="second", size=17)
picture.text(389, 226, "$dx_3$", colour="second", size=17)
picture.save(__file__)
