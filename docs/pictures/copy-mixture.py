"""The pointer-generator by hand: the vocabulary's distribution, the attention, their mixture."""

from drawing import COLOURS, Drawing

VOCABULARY = {"unknown": 0.1, "call": 0.5, "now": 0.4}
SOURCE = (("Eve", 0.3), ("call", 0.5), ("Eve", 0.2))
GATE = 0.6
picture = Drawing(500, 394)


def bar(x, foot, height, colour):
    picture.parts.append(
        f'<rect x="{x - 20}" y="{foot - height:.1f}" width="40" height="{height:.1f}" '
        f'style="fill:{COLOURS[colour]}" fill-opacity="0.7"/>'
    )


for left, title, colour, bars in (
    (60, "vocabulary, $p$", "first", VOCABULARY.items()),
    (300, "attention, $w$", "second", SOURCE),
):
    picture.text(left + 70, 14, title, size=17, colour=colour)
    picture.line([(left - 30, 146), (left + 170, 146)], arrow=False)
    for k, (word, share) in enumerate(bars):
        bar(left + 70 * k, 146, 180 * share, colour)
        picture.text(left + 70 * k, 136 - 180 * share, f"{share}", size=15)
        picture.text(left + 70 * k, 162, word, size=15)
copied = {}
for word, weight in SOURCE:
    copied[word] = copied.get(word, 0) + weight
picture.line([(130, 178), (180, 222)], colour="first")
picture.text(112, 200, f"$g$ = {GATE}", size=16, colour="first", anchor="end")
picture.line([(370, 178), (320, 222)], colour="second")
picture.text(386, 200, f"$1 − g$ = {1 - GATE:.1f}", size=16, colour="second", anchor="start")
picture.text(250, 222, "mixture, $P$", size=17)
picture.line([(100, 360), (400, 360)], arrow=False)
for k, word in enumerate((*VOCABULARY, "Eve")):
    parts = GATE * VOCABULARY.get(word, 0), (1 - GATE) * copied.get(word, 0)
    foot, x = 360, 145 + 70 * k
    for share, colour in zip(parts, ("first", "second"), strict=True):
        bar(x, foot, 180 * share, colour)
        foot -= 180 * share
    picture.text(x, foot - 10, f"{sum(parts):.2f}", size=15)
    picture.text(x, 376, word, size=15)
picture.save(__file__)
