"""The depth of a weight in its model, which decides whether fine-tuning freezes it.

The lower layers have learned features of any text, the upper ones those of their task.  So the
lower layers may stay as they are.  Frozen layers need no gradients and no moments.  Those below
all trained weights need no backward, either: see :mod:`minillm.training.trained`.

Source: Howard and Ruder (2018), "Universal language model fine-tuning for text classification",
section 3.3.
"""

from typing import Any


def depths(model: Any) -> dict[str, int]:
    """The depth of each weight: 0 for an embedding, 1 + l in layer l, and one more for all others.

    >>> import numpy as np
    >>> from minillm.models.gpt import GPT, GPTConfig
    >>> model = GPT(GPTConfig(vocabulary=9, layers=2, heads=1, width=2), np.random.default_rng(0))
    >>> [depths(model)[name] for name in ("embedding.E", "blocks.1.norm_1.gain", "norm.gain")]
    [0, 2, 3]
    """
    declared = model.new_parameters(model.config)
    known = [fresh.depth for fresh in declared.values() if fresh.depth is not None]
    top = 1 + max(known, default=0)
    return {name: top if fresh.depth is None else fresh.depth for name, fresh in declared.items()}
