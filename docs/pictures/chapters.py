"""Which chapter needs which: an arrow from a chapter to each that builds on it."""

from drawing import Drawing

PARTS = (  # x and y of the first chapter, title, colour, chapters
    (84, 62, "I  Counting to vectors", "first", "0 1 1b 2 2b 3"),
    (258, 62, "II  Sequences", "second", "4 5 6 7"),
    (432, 62, "III  Transformers", "third", "8 9 10b 10 11"),
    (610, 62, "IV  Craft (optional)", "plain", "13 14 12 15"),
    (610, 304, "V  Today", "fourth", "16 17 18 19"),
)
TITLES = {
    "0": "Derivatives",
    "1": "Counting",
    "1b": "Smoothing",
    "2": "Predicting",
    "2b": "Descent",
    "3": "Word vectors",
    "4": "Recurrence",
    "5": "LSTM and GRU",
    "6": "Padding",
    "7": "Attention",
    "8": "Transformer",
    "9": "GPT",
    "10b": "Tokens",
    "10": "BERT",
    "11": "Fine-tuning",
    "12": "Small data",
    "13": "Big data",
    "14": "Fast kernels",
    "15": "Gradient tests",
    "16": "Llama",
    "17": "Chat models",
    "18": "Summaries",
    "19": "Linear RNNs",
}
BESIDE = ("1b", "2b", "10b")  # narrower, so that the arrow of the main line passes at their left
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


def down(first, second, at):
    """An arrow within a part, ``at`` pixels from its left."""
    x = places[second][0] + at
    picture.line([(x, places[first][2] + HEIGHT / 2), (x, places[second][2] - HEIGHT / 2)])


def across(first, second, *, leave=0, arrive=0, dashed=False):
    """An arrow to another part."""
    start = (places[first][1], places[first][2] + leave)
    picture.line([start, (places[second][0], places[second][2] + arrive)], dashed=dashed)


for pair in ("0 1", "1 2", "2 3", "9 10"):
    down(*pair.split(), 15)
for pair in ("1 1b", "2 2b"):
    down(*pair.split(), 60)
for pair in ("4 5", "5 6", "6 7", "8 9", "10 11", "13 14", "16 17"):
    down(*pair.split(), 70)
down("10b", "10", 85)
across("2", "4")
across("3", "5", dashed=True)
across("7", "8")
across("9", "13", leave=-5)
across("9", "16", leave=5)
across("11", "12", leave=-5, arrive=5)
across("11", "17", leave=5)
for name, first, x in (("18", "7", 258), ("19", "5", 342)):
    left, right, middle = places[first]
    bend = places[name][2]
    start = [(x, middle + HEIGHT / 2)] if name == "18" else [(right, middle), (x, middle)]
    picture.line([*start, (x, bend), (places[name][0], bend)])
picture.save(__file__)
