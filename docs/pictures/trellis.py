"""The paths of a hidden Markov model of two states over the text "aba", the best of them thick."""

from drawing import Drawing

picture = Drawing(440, 210)
XS, YS = (100, 240, 380), (50, 120)
for left, right in ((0, 1), (1, 2)):
    for i in (0, 1):
        for j in (0, 1):
            best = (left, i, j) in ((0, 0, 1), (1, 1, 0))
            rise = 0 if i == j else (18 if j > i else -18)
            across = 24 if i == j else 16
            picture.line(
                [(XS[left] + across, YS[i] + rise), (XS[right] - across, YS[j] - rise)],
                colour="second" if best else "plain",
                width=3 if best else 1.5,
            )
for x, letter in zip(XS, "aba", strict=True):
    for state, y in enumerate(YS):
        picture.circle(x, y, 22, f"{state + 1}", colour="first", size=17)
    picture.line([(x, YS[1] + 24), (x, 168)], dashed=True)
    picture.text(x, 182, f"“{letter}”", size=17)
for y, state in zip(YS, (1, 2), strict=True):
    picture.text(14, y, f"state {state}", size=13, anchor="start")
picture.save(__file__)
