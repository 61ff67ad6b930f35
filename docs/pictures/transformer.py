"""The whole Transformer: two towers, and the cross-attention between them."""

from drawing import Drawing

picture = Drawing(440, 690)
LEFT, RIGHT = 30, 410  # the streams of the encoder and of the decoder


def stream(x, points, colour):
    for start, end in zip(points[::2], points[1::2], strict=True):
        picture.line([(x, start), (x, end)], colour=colour, width=3)


def frame(left, right, top, bottom):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    picture.line(corners, dashed=True, arrow=False, width=1)


def branch(x, middle, y, words, colour):
    """A branch leaves the stream at y + 70 and is added to it at y."""
    side = 13 if middle > x else -13
    picture.circle(x, y, 13, "+", size=18)
    picture.line([(x, y + 70), (middle, y + 70), (middle, y + 57)])
    picture.box(middle, y + 35, 164, 44, colour=colour)
    for line, word in enumerate(words):
        picture.text(middle, y + 26 + 19 * line, word, size=15)
    picture.line([(middle, y + 13), (middle, y), (x + side, y)])


# The encoder.
picture.text(110, 676, "source tokens", size=16)
picture.line([(LEFT, 664), (LEFT, 643)])
picture.box(80, 626, 130, 34, "embedding $+ P$", size=15)
stream(LEFT, (609, 514, 486, 404, 376, 320), "first")
frame(4, 214, 352, 584)
branch(LEFT, 126, 500, ("norm", "self-attention"), "second")
branch(LEFT, 126, 390, ("norm", "feed-forward"), "third")
picture.text(176, 371, "× layers", size=15, anchor="end", italic=True)
picture.box(57, 304, 90, 30, "norm", size=15)
picture.line([(57, 289), (57, 262)])
picture.box(72, 244, 120, 34, "memory", size=16, colour="first")
picture.text(110, 206, "encoder", size=18, colour="first")

# The decoder.
picture.text(322, 676, "BOS, target so far", size=16)
picture.line([(RIGHT, 664), (RIGHT, 643)])
picture.box(360, 626, 130, 34, "embedding $+ P$", size=15)
stream(RIGHT, (609, 514, 486, 384, 356, 264, 236, 193), "fourth")
frame(228, 436, 212, 584)
branch(RIGHT, 314, 500, ("norm", "causal self-attention"), "second")
branch(RIGHT, 314, 370, ("norm", "cross-attention"), "second")
branch(RIGHT, 314, 250, ("norm", "feed-forward"), "third")
picture.text(300, 231, "× layers", size=15, anchor="end", italic=True)
picture.box(383, 176, 90, 30, "norm", size=15)
picture.line([(383, 161), (383, 137)])
picture.box(346, 118, 176, 36, "output layer, softmax", size=15)
picture.line([(346, 100), (346, 76)])
picture.text(346, 58, "next target token", size=16)
picture.text(346, 20, "decoder", size=18, colour="fourth")

# Between them.
picture.line([(132, 244), (221, 244), (221, 405), (232, 405)], colour="first", width=2.5)
picture.text(212, 264, "keys,", size=15, colour="first", anchor="end")
picture.text(212, 282, "values", size=15, colour="first", anchor="end")
picture.text(402, 454, "query", size=15, colour="fourth", anchor="end")
picture.save(__file__)
