"""Arithmetic coding of "ba": the part of b is divided again, and 0.100 fills the part of ba."""

from fractions import Fraction

from drawing import Drawing

SHARES = {"a": Fraction(1, 2), "b": Fraction(1, 4), "r": Fraction(1, 4)}
picture = Drawing(500, 330)


def divide(y, before, low, length, kept):
    """Draw the parts of an interval over the whole width, with the part that is kept in colour."""
    start = low
    for token, share in SHARES.items():
        x, width = 20 + 460 * float((start - low) / length), 460 * float(share)
        colour = "second" if token == kept else "plain"
        picture.box(x + width / 2, y, width - 2, 40, before + token, size=18, colour=colour)
        picture.text(x, y - 34, str(start), size=16)
        if token == kept:
            found = (x, width, start, length * share)
        start += length * share
    picture.text(480, y - 34, str(start), size=16)
    return found


x, width, low, length = divide(56, "", Fraction(0), Fraction(1), "b")
for top, foot in ((x, 20), (x + width, 480)):
    picture.line([(top, 78), (foot, 130)], colour="second", dashed=True, arrow=False)
x, width, low, length = divide(186, "b", low, length, "a")
for end in (x, x + width):
    picture.line([(end, 208), (end, 254)], colour="second", dashed=True, arrow=False)
assert (low, length) == (Fraction(1, 2), Fraction(1, 8))
for k, name in enumerate(("0.100", "0.101")):
    words = f"starts with {name}"
    colour = "second" if k == 0 else "plain"
    picture.box(135 + 230 * k, 276, 228, 40, words, size=16, colour=colour)
picture.text(20, 312, "binary digits", size=15, anchor="start", italic=True)
picture.save(__file__)
