"""Which chapter needs which: an arrow from a chapter to each that builds on it."""

from drawing import Drawing

PARTS = (  # x and y of the first chapter, title, colour, chapters
    (84, 62, "I  Counting to vectors", "first", "0 1 2 3 4 5"),
    (258, 62, "II  Sequences", "second", "6 7 8 9"),
    (432, 62, "III  Transformers", "third", "10 11 12 13 14"),
    (610, 62, "IV  Craft (optional)", "plain", "16 17 15 18"),
    (610, 304, "V  Today", "fourth", "19 20 21 22"),
)
TITLES = {
    "0": "Derivatives",
    "1": "Counting",
    "2": "Smoothing",
    "3": "Predicting",
    "4": "Descent",
    "5": "Word vectors",
    "6": "Recurrence",
    "7": "LSTM and GRU",
    "8": "Padding",
    "9": "Attention",
    "10": "Transformer",
    "11": "Tokens",
    "12": "GPT",
    "13": "BERT",
    "14": "Fine-tuning",
    "15": "Small data",
    "16": "Big data",
    "17": "Fast kernels",
    "18": "Gradient tests",
    "19": "Llama",
    "20": "Chat models",
    "21": "Summaries",
    "22": "Linear RNNs",
}
BESIDE = ("2", "4", "11")  # narrower, so that the arrow of the main line passes at their left
WIDTH, HEIGHT, ROW = 140, 32, 50

picture = Drawing(700, 475)
places = {}
for x, y, part, colour, names in PARTS:
    picture.text(x - WIDTH / 2, y - 36, part, size=15, colour=colour, anchor="start")
    for row, name in enumerate(names.split()):
        narrow = 30 if name in BESIDE else 0
        left, right, middle = x - WIDTH / 2 + narrow, x + WIDTH / 2, y + row * ROW
        places[name] = left, right, middle
        picture.box(
            (left + right) / 2,
            middle,
            right - left,
            HEIGHT,
            f"{name}  {TITLES[name]}",
            colour=colour,
            size=14,
            dashed=colour == "plain",
        )


def down(first, second, at, *, dashed=False):
    """An arrow within a part, ``at`` pixels from its left."""
    x = places[second][0] + at
    picture.line(
        [(x, places[first][2] + HEIGHT / 2), (x, places[second][2] - HEIGHT / 2)], dashed=dashed
    )


def across(first, second, *, leave=0, arrive=0, dashed=False):
    """An arrow to another part."""
    start = (places[first][1], places[first][2] + leave)
    picture.line([start, (places[second][0], places[second][2] + arrive)], dashed=dashed)


for pair in ("0 1", "1 3", "3 5", "10 12"):
    down(*pair.split(), 15)
for pair in ("1 2", "3 4"):
    down(*pair.split(), 60)
for pair in ("6 7", "7 8", "8 9", "12 13", "13 14", "16 17", "19 20"):
    down(*pair.split(), 70)
down("11", "12", 85, dashed=True)
across("3", "6")
across("5", "7", dashed=True)
across("9", "10")
across("12", "16", leave=-5)
across("12", "19", leave=5)
across("14", "15", leave=-5, arrive=5)
across("14", "20", leave=5)
for name, first, x in (("21", "9", 258), ("22", "7", 342)):
    left, right, middle = places[first]
    bend = places[name][2]
    start = [(x, middle + HEIGHT / 2)] if name == "21" else [(right, middle), (x, middle)]
    picture.line([*start, (x, bend), (places[name][0], bend)])
picture.save(__file__)
