"""A GPT reads four tokens and predicts four: the targets are the inputs, shifted by one."""

from drawing import Drawing

picture = Drawing(440, 470)
inputs, targets = ("the", "cat", "sat", "on"), ("cat", "sat", "on", "the")
XS = (125, 210, 295, 380)
for x, token, target in zip(XS, inputs, targets, strict=True):
    picture.text(x, 452, token, size=18, italic=True)
    picture.line([(x, 438), (x, 408)])
    picture.box(x, 388, 64, 38, "$E + P$", size=17, colour="third")
    picture.line([(x, 369), (x, 351)])
    picture.line([(x, 182), (x, 156)])
    picture.box(x, 137, 64, 38, "$E^⊤$", size=18, colour="third")
    picture.line([(x, 118), (x, 92)])
    picture.text(x, 76, "$p$", size=18)
    picture.line([(x, 32), (x, 62)], colour="second", dashed=True)
    picture.text(x, 17, target, size=18, italic=True, colour="second")
for y, words in ((17, "target"), (452, "input")):
    picture.text(4, y, words, size=17, anchor="start")
picture.text(4, 47, "loss", size=17, anchor="start", colour="second")
picture.box(252, 267, 330, 168, colour="first")
picture.text(252, 200, "causal blocks, then a norm", size=17)
for s, left in enumerate(XS):
    for right in XS[s:]:
        picture.line([(left, 330), (right, 232)], width=1.2, colour="first")
picture.save(__file__)
