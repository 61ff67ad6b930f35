"""The computation graph of one linear layer and a loss: values forward, gradients back."""

from drawing import Drawing

picture = Drawing(640, 210)
for x, name, colour in ((60, "x", "first"), (60, "W", "third"), (60, "b", "third")):
    y = {"x": 40, "W": 105, "b": 170}[name]
    picture.circle(x, y, 22, name, colour=colour)
picture.box(210, 72, 90, 44, "x W")
picture.box(350, 105, 90, 44, "+ b")
picture.circle(470, 105, 22, "y", colour="first")
picture.box(580, 105, 70, 44, "L", colour="second")
picture.line([(82, 40), (165, 64)])
picture.line([(82, 105), (165, 82)])
picture.line([(255, 76), (305, 98)])
picture.line([(82, 170), (305, 116)])
picture.line([(395, 105), (447, 105)])
picture.line([(492, 105), (544, 105)])
for points in ([(544, 120), (492, 120)], [(447, 120), (395, 120)], [(305, 112), (255, 90)]):
    picture.line(points, colour="second", dashed=True)
picture.text(518, 138, "dy", colour="second")
picture.line([(165, 50), (84, 26)], colour="second", dashed=True)
picture.line([(165, 94), (84, 120)], colour="second", dashed=True)
picture.line([(310, 130), (84, 186)], colour="second", dashed=True)
picture.text(125, 22, "dx", colour="second")
picture.text(125, 124, "dW", colour="second")
picture.text(215, 176, "db", colour="second")
picture.save(__file__)
