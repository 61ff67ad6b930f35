"""A corpus as shards on the disk, and two windows that a training reads from them."""

from drawing import Drawing

picture = Drawing(440, 250)
picture.text(220, 18, "text, larger than memory", size=17)
for k in range(3):
    picture.box(75 + 145 * k, 55, 135, 40, f"part {k + 1}", size=17)
    picture.line([(75 + 145 * k, 77), (75 + 145 * k, 110)])
picture.text(150, 94, "encode", size=17)
for k in range(3):
    picture.box(75 + 145 * k, 132, 135, 40, f"0000{k}.bin", colour="first", size=17)
for x, width in ((60, 36), (226, 36), (362, 36)):
    picture.box(x, 132, width, 52, colour="second")
    picture.line([(x, 160), (x, 195)], colour="second", dashed=True)
picture.box(220, 220, 330, 46, "a batch of windows", colour="second", size=17)
picture.save(__file__)
