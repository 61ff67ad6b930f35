"""Which chapter needs which: an arrow from a chapter to each that builds on it."""

from pathlib import Path

from drawing import Drawing

HERE = {  # chapters that are written
    str(int(path.name[:2])) for path in (Path(__file__).parents[1] / "chapters").glob("*.md")
}
PARTS = (  # x and y of the first chapter, title, colour, chapters
    (84, 62, "I  Counting to vectors", "first", "0 1 2 3 4 5 6"),
    (258, 62, "II  Sequences", "second", "7 8 9 10"),
    (432, 62, "III  Transformers", "third", "11 12 13 14 15 16"),
    (610, 62, "IV  Craft (optional)", "plain", "18 20 17 19 21"),
    (610, 354, "V  Today", "fourth", "22 23 24 25"),
)
TITLES = {
    "0": "Derivatives",
    "1": "Counting",
    "2": "Smoothing",
    "3": "Hidden states",
    "4": "Predicting",
    "5": "Descent",
    "6": "Word vectors",
    "7": "Recurrence",
    "8": "LSTM and GRU",
    "9": "Padding",
    "10": "Attention",
    "11": "Transformer",
    "12": "Summaries",
    "13": "Tokens",
    "14": "GPT",
    "15": "BERT",
    "16": "Fine-tuning",
    "17": "Small data",
    "18": "Big data",
    "19": "Evaluation",
    "20": "Fast kernels",
    "21": "Gradient tests",
    "22": "Llama",
    "23": "Inference",
    "24": "Chat models",
    "25": "Linear RNNs",
}
BESIDE = ("2", "3", "5", "12", "13", "23")  # narrower: the main line passes at their left
WIDTH, HEIGHT, ROW = 140, 32, 50

picture = Drawing(700, 525)
places = {}
for x, y, part, colour, names in PARTS:
    picture.text(x - WIDTH / 2, y - 36, part, size=15, colour=colour, anchor="start")
    for row, name in enumerate(name for name in names.split() if name in HERE):
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


for at, pairs in (
    (15, "0-1 1-4 4-6 11-14 22-24"),
    (60, "1-2 2-3 4-5 22-23"),
    (70, "7-8 8-9 9-10 14-15 15-16 18-20 17-19"),
):
    for pair in pairs.split():
        if HERE.issuperset(ends := pair.split("-")):
            down(*ends, at)
down("13", "14", 85, dashed=True)
across("4", "7")
across("6", "8", dashed=True)
across("10", "11", leave=-5)
across("10", "12", leave=5)
across("14", "18", leave=-5)
across("14", "22", leave=5)
across("16", "17", leave=-5, arrive=5)
across("16", "24", leave=5)
(_, right, middle), (left, _, bend) = places["8"], places["25"]
picture.line([(right, middle), (342, middle), (342, bend), (left, bend)])
picture.save(__file__)
