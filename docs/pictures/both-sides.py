"""A GPT predicts a token from its left, a BERT from both sides."""

from drawing import Drawing

picture = Drawing(440, 400)
WORDS = (62, 168, 274, 380)


def panel(top, name, words, answer, sources):
    """A row of words, the place that is predicted, and arrows from what it may see."""
    picture.text(10, top, name, size=18, anchor="start")
    place = WORDS[1]
    picture.box(place, top + 36, 80, 36, answer, colour="second", size=18)
    for x, word in zip(WORDS, words, strict=True):
        colour = "third" if word.startswith("[") else "first"
        picture.box(x, top + 136, 98, 36, word, colour=colour, size=17)
    for source in sources:
        picture.line(
            [(WORDS[source], top + 117), (place + 9 * (source - 1), top + 56)], colour="first"
        )


panel(20, "GPT", ("the", "dog", "barked", "loudly"), "dog?", (0,))
picture.text(330, 56, "sees the left", size=17, italic=True)
panel(228, "BERT", ("the", "[MASK]", "barked", "loudly"), "dog?", (0, 1, 2, 3))
picture.text(340, 264, "sees all", size=17, italic=True)
picture.save(__file__)
