"""A corpus as shards on the disk, and two windows that a training reads from them."""

from drawing import Drawing

picture = Drawing(440, 262)
picture.text(220, 18, "text, larger than memory", size=17)
for k in range(3):
    x = 75 + 145 * k
    picture.box(x, 55, 135, 40, f"part {k + 1}", size=17)
    picture.line([(x, 77), (x, 108)])
    picture.box(x, 144, 135, 70, colour="first")
    picture.text(x, 126, f"0000{k}.bin", size=17)
picture.text(148, 93, "encode", size=17)
for x in (52, 236, 380):
    picture.box(x, 160, 44, 24, colour="second")
    picture.line([(x, 174), (x, 209)], colour="second", dashed=True)
picture.box(220, 234, 400, 46, "a batch of windows", colour="second", size=17)
picture.save(__file__)
