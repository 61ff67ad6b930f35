"""Speculative sampling: what a draft has too much of, and what it lacks."""

from drawing import Drawing

P, DRAFT = (0.5, 0.3, 0.2), (0.2, 0.5, 0.3)
HEIGHT, FLOOR = 400, 245  # of a probability of 1; the floor of the bars

picture = Drawing(440, 300)
for token, (p, draft) in enumerate(zip(P, DRAFT, strict=True)):
    x = 95 + 125 * token
    both, high = HEIGHT * min(p, draft), HEIGHT * max(p, draft)
    picture.box(x, FLOOR - both / 2, 86, both, "accepted", size=13, colour="third")
    words, colour = ("drawn after", "first") if p > draft else ("rejected", "second")
    picture.box(x, FLOOR - (both + high) / 2, 86, high - both, colour=colour, dashed=p < draft)
    if p > draft:
        picture.text(x, FLOOR - (both + high) / 2 - 8, words, size=12)
        picture.text(x, FLOOR - (both + high) / 2 + 8, "a rejection", size=12)
    else:
        picture.text(x, FLOOR - (both + high) / 2, words, size=13)
    picture.text(x, FLOOR + 18, f"token {token + 1}", size=14)
    picture.text(x, FLOOR + 40, f"{draft}, {p}", size=14)
picture.text(6, FLOOR + 40, "draft, $p$", size=13, anchor="start")
picture.line([(55, FLOOR), (390, FLOOR)], arrow=False)
picture.save(__file__)
