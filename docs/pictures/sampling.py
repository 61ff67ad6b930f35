"""The same logits under temperatures, top-k and top-p."""

import numpy as np
from drawing import COLOURS, Drawing

from minillm.decoding.sampling import next_probabilities

picture = Drawing(440, 600)
logits = np.log([0.36, 0.22, 0.14, 0.1, 0.07, 0.05, 0.04, 0.02])
KINDS = (
    ("temperature 1", {}),
    ("temperature 0.5", {"temperature": 0.5}),
    ("temperature 2", {"temperature": 2.0}),
    ("top-k, k = 3", {"top_k": 3}),
    ("top-p, p = 0.8", {"top_p": 0.8}),
)
for number, (title, options) in enumerate(KINDS):
    base = 100 + 120 * number
    picture.text(6, base - 40, title, size=17, anchor="start")
    picture.line([(160, base), (436, base)], arrow=False, width=1)
    for k, p in enumerate(next_probabilities(logits, **options)):
        height = 120 * p
        picture.parts.append(
            f'<rect x="{164 + 34 * k}" y="{base - height:.1f}" width="28" height="{height:.1f}" '
            f'style="fill:{COLOURS["first"]}" fill-opacity="0.7"/>'
        )
        if p > 0:
            picture.text(178 + 34 * k, base - height - 11, f"{p:.2f}".lstrip("0"), size=14)
picture.save(__file__)
