"""BERT's masking: 15% of the tokens are chosen, and each has one of three fates."""

from drawing import Drawing

picture = Drawing(440, 360)
picture.text(220, 18, "all tokens of a text", size=17)
picture.box(251, 54, 358, 40, "85%: read, not predicted", size=17)
picture.box(39, 54, 62, 40, "15%", colour="second", size=17)
picture.line([(10, 76), (10, 124)], colour="second", arrow=False, dashed=True)
picture.line([(70, 76), (430, 124)], colour="second", arrow=False, dashed=True)
picture.text(126, 112, "to predict", size=17, colour="second")
picture.box(177, 148, 334, 44, "80%", colour="first", size=17)
picture.box(367, 148, 42, 44, "10%", colour="third", size=16)
picture.box(411, 148, 42, 44, "10%", colour="fourth", size=16)
ROWS = (
    ("first", 80, "become [MASK]", "the [MASK] barked loudly"),
    ("third", 10, "become a random token", "the list barked loudly"),
    ("fourth", 10, "stay as they are", "the dog barked loudly"),
)
for number, (colour, share, fate, example) in enumerate(ROWS):
    y = 202 + 58 * number
    picture.text(14, y, f"{share}% {fate}", size=17, anchor="start", colour=colour)
    picture.text(30, y + 24, example, size=17, anchor="start", italic=True)
    picture.line([(300, y + 24), (344, y + 24)], colour="second")
    picture.text(388, y + 24, "dog", size=17, colour="second", italic=True)
picture.save(__file__)
