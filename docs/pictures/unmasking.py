"""A text that reads the same backwards, unmasked in six passes by the model of chapter 15."""

from drawing import Drawing

TEXT, ORDER = "hbffbh", (4, 3, 5, 2, 0, 1)  # as the model wrote it
WIDTH = 44

picture = Drawing(400, 330)
for step in range(len(TEXT) + 1):
    y = 26 + step * 46
    picture.text(70, y, "start" if step == 0 else f"pass {step}", size=15)
    for place, letter in enumerate(TEXT):
        x, at = 140 + place * WIDTH, ORDER.index(place)
        known = len(TEXT) - 1 - place in ORDER[:at]
        colour = "plain" if at >= step else "third" if known else "first"
        picture.box(
            x, y, WIDTH - 6, 36, letter if at < step else "", colour=colour, dashed=at >= step
        )
picture.save(__file__)
