"""Train the small GPT of chapter 12, and draw the head that looks most at the character before."""

import numpy as np
from drawing import Drawing
from heat_map import colour_bar, heat_map

import minillm

rng = np.random.default_rng(0)
who = ("the cat", "the dog", "a bird", "the fox")
did = ("sat", "slept", "sang", "ran")
where = ("on the mat", "in the sun", "under the tree", "by the river")
lines = [" ".join(rng.choice(part) for part in (who, did, where)) + ".\n" for _ in range(2000)]
run = minillm.train(
    "gpt", text="".join(lines), layers=2, width=32, heads=4, context=32, steps=600, quiet=True
)
sentence = "the fox ran by the river."
maps = {(l, h): run.attention(sentence, l, h)[0] for l in (0, 1) for h in range(4)}
layer, head = max(maps, key=lambda key: np.diagonal(maps[key], -1).mean())
picture = Drawing(440, 410)
picture.text(200, 16, f"layer {layer}, head {head}", size=17)
shown = sentence.replace(" ", "·")
heat_map(picture, 36, 66, 13, maps[layer, head], shown, shown, font=13)
colour_bar(picture, 384, 66, 13 * len(sentence))
picture.save(__file__)
