"""Skip-gram and CBOW on one window: the word predicts its neighbours, or they predict it."""

from drawing import Drawing

picture = Drawing(440, 330)
words = ("a", "small", "cat", "sat", "down")
columns = (40, 128, 218, 308, 398)
for top, title, middle in ((30, "skip-gram", "first"), (195, "CBOW", "second")):
    picture.text(6, top, title, size=18, anchor="start")
    for x, word in zip(columns, words, strict=True):
        given = (word == "cat") == (middle == "first")
        picture.box(x, top + 110, 76, 36, word, colour="first" if given else "second", size=18)
for end in (40, 128, 308, 398):
    lift = 62 if abs(end - 218) > 100 else 78
    picture.line([(218, 121), (218, lift), (end, lift), (end, 121)])
    lift += 165
    picture.line([(end, 286), (end, lift), (218, lift), (218, 286)], arrow=abs(end - 218) < 100)
picture.save(__file__)
