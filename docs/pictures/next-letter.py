"""An n-gram model's probabilities of the character after "in the ", and temperatures of them.

The JSON has all characters, most probable first, for docs/_static/interactive.js.
"""

import json
import sys
from pathlib import Path

import numpy as np
from drawing import COLOURS, Drawing

from minillm.data.corpora import read_text
from minillm.decoding.sampling import next_probabilities
from minillm.models.ngram import NGramConfig, count_ngrams, estimate
from minillm.text import Characters

CONTEXT, ORDER, SHOWN = "in the ", 6, 15


def distribution():
    """The characters of the built-in Python documentation and their probabilities, descending."""
    text = read_text(["python-docs"])
    vocabulary = Characters.from_text(text)
    V = len(vocabulary)
    ids = np.array([V, *vocabulary.encode(text)], np.int32)
    model = estimate(count_ngrams(ids, ORDER, start=V), NGramConfig(vocabulary=V, order=ORDER))
    p = 10.0 ** model.distribution(vocabulary.encode(CONTEXT)[1 - ORDER :])
    order = np.argsort(-p, kind="stable")
    return [vocabulary.decode([k]) for k in order.tolist()], p[order]


if __name__ == "__main__":
    characters, p = distribution()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    kept = {"context": CONTEXT, "characters": characters, "p": [float(f"{x:.4g}") for x in p]}
    text = json.dumps(kept, ensure_ascii=False)
    (folder / Path(__file__).with_suffix(".json").name).write_text(text + "\n")

    picture = Drawing(440, 385)
    for number, temperature in enumerate((1, 0.5, 2)):
        base = 100 + 130 * number
        picture.text(6, base - 84, f"temperature {temperature}", size=17, anchor="start")
        q = next_probabilities(np.log(p), temperature)
        names = [*characters[:SHOWN], "others"]
        for k, x in enumerate([*q[:SHOWN], q[SHOWN:].sum()]):
            left, width, height = 8 + 24 * k, 18 if k < SHOWN else 50, 240 * x
            picture.parts.append(
                f'<rect x="{left}" y="{base - height:.1f}" width="{width}" height="{height:.1f}" '
                f'style="fill:{COLOURS["first"]}" fill-opacity="0.7"/>'
            )
            picture.text(left + width / 2, base + 14, names[k], size=14)
        picture.line([(4, base), (436, base)], arrow=False, width=1)
    picture.save(__file__)
