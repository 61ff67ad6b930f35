"""Windows of a long text: the state goes on from window to window, and the gradient is cut."""

from drawing import Drawing

picture = Drawing(440, 226)
text, steps, gap = "the cat sat.", 4, 14
places = [23 + 34 * n + gap * (n // steps) for n in range(len(text))]
for n, (x, letter) in enumerate(zip(places, text, strict=True)):
    picture.box(x, 115, 22, 34, colour="third")
    picture.text(x, 172, "␣" if letter == " " else letter, size=17)
    picture.line([(x, 160), (x, 134)])
    if n:
        before, border = places[n - 1], n % steps == 0
        colour, width = ("fourth", 3) if border else ("plain", 1.5)
        picture.line([(before + 11, 107), (x - 11, 107)], colour=colour, width=width)
        if not border:
            picture.line([(x - 11, 124), (before + 11, 124)], colour="second", dashed=True)
for window in range(3):
    first, last = places[window * steps], places[window * steps + steps - 1]
    picture.line(
        [(first - 11, 78), (first - 11, 70), (last + 11, 70), (last + 11, 78)], arrow=False
    )
    picture.text((first + last) / 2, 53, f"window {window + 1}", size=16)
    if window:
        x = first - 11 - (34 - 22 + gap) / 2
        picture.line([(x, 116), (x, 196)], colour="second", arrow=False, width=3)
        picture.line([(x, 30), (x, 98)], colour="fourth", dashed=True, arrow=False)
picture.text(220, 14, "the state passes on", size=16, colour="fourth")
picture.text(220, 212, "the gradient stops", size=16, colour="second")
picture.save(__file__)
