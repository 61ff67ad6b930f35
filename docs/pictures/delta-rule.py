"""The memory of the box "By hand" after each pair: by sums, and by the delta rule."""

from drawing import Drawing

picture = Drawing(560, 300)
SIZE = 42


def memory(x, y, entries, colour):
    """A matrix with a row per entry of the key: the first row is the apple's."""
    for row in range(2):
        for column in range(2):
            value = entries[row][column]
            box = colour if row == 0 else "plain"
            at = x + (column - 0.5) * SIZE, y + (row - 0.5) * SIZE
            picture.box(*at, SIZE - 3, SIZE - 3, str(value), colour=box, size=17)
    picture.text(x - SIZE - 14, y - SIZE / 2, "1", size=16, colour="fourth")
    picture.text(x - SIZE - 14, y + SIZE / 2, "0", size=16, colour="fourth")
    answer = ", ".join(map(str, entries[0]))
    picture.text(x, y + SIZE + 16, f"answer ({answer})", size=15)


memory(80, 150, ((0, 0), (0, 0)), "plain")
memory(260, 150, ((1, 0), (0, 0)), "first")
memory(470, 74, ((1, 1), (0, 0)), "second")
memory(470, 220, ((0, 1), (0, 0)), "third")
picture.text(80, 84, "$S$ empty", size=16)
picture.text(260, 84, "after red", size=16)
picture.text(470, 14, "sum: red and green", size=16, colour="second")
picture.text(470, 288 - 126, "delta rule: green", size=16, colour="third")
picture.line([(134, 150), (186, 150)])
picture.text(160, 130, "+ $k v^⊤$", size=16)
picture.line([(318, 140), (396, 84)], colour="second")
picture.text(338, 92, "+ $k v^⊤$", size=16, colour="second")
picture.line([(318, 160), (396, 214)], colour="third")
picture.text(344, 238, "+ $k (v − S^⊤k)^⊤$", size=16, colour="third")
picture.text(50, 284, "$k$", size=17, colour="fourth")
picture.text(60, 284, "= (1, 0) selects the first row", size=15, colour="fourth", anchor="start")
picture.save(__file__)
