"""Train the model of the section on induction heads, and draw its head and what all heads add."""

import numpy as np
from drawing import COLOURS, Drawing
from heat_map import colour_bar, heat_map

import minillm
from minillm.look.attribution import head_effects, induction_scores


def cyclic_line(rng, length=48):
    order = rng.permutation(12)
    after, ids = dict(zip(order, np.roll(order, -1), strict=True)), [rng.integers(12)]
    while len(ids) < length:
        ids.append(rng.integers(12) if rng.random() < 0.2 else after[ids[-1]])
    return "".join("abcdefghijkl"[i] for i in ids)


rng, text = np.random.default_rng(0), "dabfedabfe"
lines = "\n".join(cyclic_line(rng) for _ in range(4000))
sizes = {"layers": 2, "width": 32, "heads": 4, "context": 48, "batch": 16}
run = minillm.train("llama", text=lines, **sizes, steps=3500, quiet=True)
trace, ids = run.trace(text), run.tokenizer.encode(text)
weights = trace.attention[0].weights
layer, head = np.unravel_index(induction_scores(weights, ids).argmax(), weights.shape[:2])
picture = Drawing(440, 470)
picture.text(150, 12, f"attention, layer {layer + 1}, head {head + 1}", size=16)
heat_map(picture, 40, 46, 22, weights[layer, head], text, text, font=15)
colour_bar(picture, 290, 46, 22 * len(text))

measured = {"second": head_effects(run.model, ids)[5:], "first": trace.by_head[6:]}
means = {colour: values.mean(axis=0) for colour, values in measured.items()}
low, most = 425, max(values.max() for values in means.values())
for k, (colour, words) in enumerate({"second": "ablation", "first": "gradient"}.items()):
    picture.text(150 + 110 * k, 292, f"{words}, nats", colour=colour, size=15)
    for n, value in enumerate(means[colour].ravel()):
        height = max(110 * value / most, 1)  # what hinders has a line
        picture.parts.append(
            f'<rect x="{14 + 53 * n + 22 * k}" y="{low - height:.1f}" width="20" '
            f'height="{height:.1f}" style="fill:{COLOURS[colour]}" fill-opacity="0.7"/>'
        )
        picture.text(24 + 53 * n + 24 * k, low - height - 10, f"{value:.1f}", size=12)
for n, (at_layer, at_head) in enumerate(np.ndindex(weights.shape[:2])):
    picture.text(35 + 53 * n, low + 18, f"{at_layer + 1}.{at_head + 1}", size=15)
picture.save(__file__)
