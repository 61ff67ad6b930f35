"""The online softmax: blocks of keys update a state of three numbers for each query."""

from drawing import Drawing

picture = Drawing(440, 300)
picture.text(60, 40, "keys and", size=17)
picture.text(60, 62, "values", size=17)
for number, x in enumerate((170, 275, 380)):
    picture.box(x, 50, 92, 46, f"block {number + 1}", colour="first", size=17)
    picture.line([(x, 74), (x, 112)])
    picture.box(x, 135, 92, 44, "exponentials", colour="second", size=14)
    picture.line([(x, 158), (x, 196)])
    picture.box(x, 222, 92, 50, "state", colour="third", size=17)
    if number:
        picture.line([(x - 58, 222), (x - 47, 222)])
picture.text(60, 132, "scores less", size=17)
picture.text(60, 154, "the largest", size=17)
picture.text(60, 200, "largest score,", size=17)
picture.text(60, 222, "sum,", size=17)
picture.text(60, 244, "output", size=17)
picture.text(275, 274, "corrected when a larger score comes", size=17)
picture.save(__file__)
