"""The depth of a weight in its model, which decides whether fine-tuning freezes it.

The lower layers have learned features of any text, the upper ones those of their task.  So the
lower layers may stay as they are.  Frozen layers need no gradients and no moments.  Those below
all trained weights need no backward, either: see :mod:`minillm.training.trained`.

Source: Howard and Ruder (2018), "Universal language model fine-tuning for text classification",
section 3.3.
"""

import re
from collections.abc import Iterable

_EMBEDDING = re.compile(r"(?:encoder\.)?(?:embedding|positions|segments|source)\.")
_LAYER = re.compile(r"(?:encoder\.)?(?:blocks|layers|encoder)\.(\d+)\.")


def depths(names: Iterable[str]) -> dict[str, int]:
    """The depth of each weight: 0 for an embedding, 1 + l in layer l, and one more for all others.

    >>> depths(["embedding.E", "blocks.0.norm.gain", "blocks.1.norm.gain", "norm.gain"])
    {'embedding.E': 0, 'blocks.0.norm.gain': 1, 'blocks.1.norm.gain': 2, 'norm.gain': 3}
    """
    depth: dict[str, int | None] = {}
    for name in names:
        layer = _LAYER.match(name)
        depth[name] = 1 + int(layer[1]) if layer else 0 if _EMBEDDING.match(name) else None
    top = 1 + max((number for number in depth.values() if number is not None), default=0)
    return {name: top if number is None else number for name, number in depth.items()}
