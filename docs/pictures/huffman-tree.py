"""A Huffman tree of six words, with the path to one of them."""

from drawing import Drawing

picture = Drawing(460, 400)
NODES = {18: (165, 34), 10: (280, 110), 4: (185, 195), 2: (245, 280), 6: (374, 195)}
LEAVES = {
    "the": (50, 120, 8),
    "of": (330, 290, 3),
    "a": (416, 290, 3),
    "cat": (125, 290, 2),
    "sat": (200, 368, 1),
    "mat": (290, 368, 1),
}
EDGES = (  # parent, its first and its second child
    (18, "the", 10),
    (10, 4, 6),
    (4, "cat", 2),
    (2, "sat", "mat"),
    (6, "of", "a"),
)
PATH = {(18, 10), (10, 4), (4, "cat")}
for parent, *children in EDGES:
    x0, y0 = NODES[parent]
    for turn, child in enumerate(children):
        x1, y1 = NODES[child] if child in NODES else LEAVES[child][:2]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        start = (round(x0 + 22 * (x1 - x0) / length), round(y0 + 22 * (y1 - y0) / length))
        end = (x1, y1 - 18) if child in LEAVES else (x1, y1 - 22)
        on_path = (parent, child) in PATH
        colour = "second" if on_path else "plain"
        picture.line([start, end], colour=colour, width=2.5 if on_path else 1.5)
        side = 14 if turn else -14
        middle = ((start[0] + end[0]) // 2 + side, (start[1] + end[1]) // 2 - 6)
        picture.text(*middle, str(turn), colour=colour, size=16)
for count, (x, y) in NODES.items():
    picture.circle(
        x, y, 22, str(count), colour="second" if count in (18, 10, 4) else "plain", size=17
    )
for word, (x, y, count) in LEAVES.items():
    picture.box(
        x, y, 72, 36, f"{word} {count}", colour="second" if word == "cat" else "first", size=17
    )
picture.save(__file__)
