"""Byte pairs: the merges of a word as trees, whose roots are its tokens."""

from drawing import Drawing

picture = Drawing(440, 280)
LETTERS = "␣seashells"
BOTTOM, STEP = 246, 48


def x_of(position):
    return 31 + 42 * position


def node(position, level, words, number, below, is_token=True):
    """A piece in the middle of the two that it joins; the number says which merge made it."""
    x, y = x_of(position), BOTTOM - 2 * STEP * level
    for other, other_level in below:
        picture.line(
            [(x_of(other), BOTTOM - 2 * STEP * other_level - 17), (x, y + 17)], arrow=False
        )
    width = 16 + 13 * len(words)
    picture.box(x, y, width, 34, words, colour="first" if is_token else "plain", size=18)
    picture.text(x - width / 2 - 8, y - 12, str(number), size=16, colour="second")


for position, letter in enumerate(LETTERS):
    alone = position in (3, 4)
    colour = "first" if alone else "plain"
    picture.box(x_of(position), BOTTOM, 30, 34, letter, colour=colour, size=18)
node(0.5, 1, "␣s", 1, ((0, 0), (1, 0)), is_token=False)
node(1.25, 2, "␣se", 2, ((0.5, 1), (2, 0)))
node(5.5, 1, "he", 3, ((5, 0), (6, 0)))
node(7.5, 1, "ll", 4, ((7, 0), (8, 0)), is_token=False)
node(8.25, 2, "lls", 5, ((7.5, 1), (9, 0)))
picture.save(__file__)
