"""The computation graph of the neural n-gram: values down, gradients up."""

from drawing import Drawing

MIDDLE, LEFT = 265, 62
picture = Drawing(440, 590)
for x, letter in ((165, "a"), (265, "b"), (365, "r")):
    picture.circle(x, 26, 20, letter, size=18)
    picture.box(x, 98, 76, 40, f"$E$[{letter}]", colour="third", size=18)
    picture.line([(x, 46), (x, 78)])
    picture.line([(x - 12, 118), (x - 12, 152)])
    picture.line([(x + 12, 152), (x + 12, 118)], colour="second", dashed=True)
    picture.text(x + 20, 135, "$dE$", colour="second", size=17, anchor="start")
picture.box(MIDDLE, 172, 290, 40, "$x$: the three side by side", colour="first", size=18)
rows = (
    (250, "$x W_h + b_h$", "plain", "$dx$"),
    (328, "$h = tanh$", "first", ""),
    (406, "$h W + b$", "plain", "$dh$"),
    (484, "$p = softmax$", "first", ""),
    (562, "$L = − ln p[target]$", "second", ""),
)
for y, words, colour, gradient in rows:
    picture.box(MIDDLE, y, 180, 40, words, colour=colour, size=18)
    picture.line([(MIDDLE - 20, y - 58), (MIDDLE - 20, y - 20)])
    if y < 480:
        picture.line([(MIDDLE + 20, y - 20), (MIDDLE + 20, y - 58)], colour="second", dashed=True)
    picture.text(MIDDLE + 32, y - 39, gradient, colour="second", size=17, anchor="start")
around = [(357, 562), (410, 562), (410, 406), (357, 406)]
picture.line(around, colour="second", dashed=True)
picture.text(404, 445, "$dlogits$", colour="second", size=17, anchor="end")
for y, words, gradients in ((250, "$W_h, b_h$", "$dW_h, db_h$"), (406, "$W, b$", "$dW, db$")):
    picture.box(LEFT, y, 100, 40, words, colour="third", size=18)
    picture.line([(112, y - 8), (175, y - 8)])
    picture.line([(175, y + 8), (112, y + 8)], colour="second", dashed=True)
    picture.text(LEFT, y + 36, gradients, colour="second", size=17)
picture.circle(LEFT, 562, 20, "a", size=18)
picture.text(LEFT, 524, "target", size=17)
picture.line([(82, 562), (175, 562)])
picture.save(__file__)
