"""Train the small GPT of chapter 14, and draw the head that looks most at the character before.

The JSON has the weights of all heads, for docs/_static/interactive.js.
"""

import json
import sys
from pathlib import Path

import numpy as np
from drawing import Drawing
from heat_map import colour_bar, heat_map

import minillm

SENTENCE, LAYERS, HEADS = "the fox ran by the river.", 2, 4


def attention():
    """The weights (layers, heads, T, T) of the model after 600 steps."""
    rng = np.random.default_rng(0)
    who = ("the cat", "the dog", "a bird", "the fox")
    did = ("sat", "slept", "sang", "ran")
    where = ("on the mat", "in the sun", "under the tree", "by the river")
    lines = [" ".join(rng.choice(part) for part in (who, did, where)) + ".\n" for _ in range(2000)]
    sizes = {"layers": LAYERS, "width": 32, "heads": HEADS, "context": 32}
    run = minillm.train("gpt", text="".join(lines), **sizes, steps=600, quiet=True)
    return run.trace(SENTENCE).attention[0].weights


if __name__ == "__main__":
    weights = attention()
    layer, head = np.unravel_index(
        np.diagonal(weights, -1, axis1=2, axis2=3).mean(axis=-1).argmax(), (LAYERS, HEADS)
    )
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    kept = {"text": SENTENCE, "weights": weights.astype(float).round(3).tolist()}
    rows = [[[r[: t + 1] for t, r in enumerate(m)] for m in each] for each in kept["weights"]]
    text = json.dumps(kept | {"weights": rows}, separators=(",", ":"))
    (folder / Path(__file__).with_suffix(".json").name).write_text(text + "\n")

    picture = Drawing(440, 410)
    picture.text(200, 16, f"layer {layer}, head {head}", size=17)
    shown = SENTENCE.replace(" ", "·")
    heat_map(picture, 36, 66, 13, weights[layer, head], shown, shown, font=13)
    colour_bar(picture, 384, 66, 13 * len(SENTENCE))
    picture.save(__file__)
