"""Fine-tuning: which weights of a pre-trained model are trained, from when on, and how fast.

What the lower layers have learnt holds for any text, what the upper ones have for the task that
they were trained on.  So the lower a layer, the less it should change:

    rate of a layer = learning rate * decay^(layers above it)        decay 1: all alike

- **Frozen layers** are not trained at all.  They cost no moments; those below everything that is
  trained cost no backward either (``Model.frozen``).
- **Gradual unfreezing** trains the new last layer first, for what comes back from it is noise as
  long as it is random, then the layers below it, one after the other.

Everything is told by the names of the weights: ``embedding.E`` is at depth 0, ``blocks.0...`` or
``layers.0...`` at depth 1, and so on; what belongs to no layer is at the top.

Source: Howard and Ruder (2018), "Universal language model fine-tuning for text classification",
sections 3.2 and 3.3.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from minillm.training.optimisers import Arrays, Optimiser

_WHOSE = r"(?:members\.\d+\.)?(?:encoder\.)?"
_EMBEDDING = re.compile(_WHOSE + r"(?:embedding|ngrams|positions|segments|source)\.")
_LAYER = re.compile(_WHOSE + r"(?:blocks|layers|encoder)\.(\d+)\.")


def depths(names: Iterable[str]) -> dict[str, int]:
    """How high each weight stands: 0 an embedding, 1 + l one of layer l, above them the others.

    >>> depths(["embedding.E", "blocks.0.norm.gain", "blocks.1.norm.gain", "norm.gain"])
    {'embedding.E': 0, 'blocks.0.norm.gain': 1, 'blocks.1.norm.gain': 2, 'norm.gain': 3}
    """
    found: dict[str, int | None] = {}
    for name in names:
        layer = _LAYER.match(name)
        found[name] = 1 + int(layer[1]) if layer else 0 if _EMBEDDING.match(name) else None
    top = 1 + max((depth for depth in found.values() if depth is not None), default=0)
    return {name: top if depth is None else depth for name, depth in found.items()}


class ByLayer:
    """An optimiser for each depth, with a learning rate of its own.

    A depth that has no gradients stays as it is: it is frozen, or not yet unfrozen.  Each counts
    its own steps, so that the moments of one that begins late are those of a beginning.
    """

    def __init__(
        self, params: Arrays, new_optimiser: Callable[[Arrays], Optimiser], decay: float = 1.0
    ):
        by_depth: dict[int, dict[str, np.ndarray]] = {}
        for name, depth in depths(params).items():
            by_depth.setdefault(depth, {})[name] = params[name]
        top = max(by_depth)
        self.names = {depth: list(group) for depth, group in by_depth.items()}
        self.optimisers = {depth: new_optimiser(group) for depth, group in by_depth.items()}
        self.factors = {depth: decay ** (top - depth) for depth in by_depth}

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """One step of each depth that has gradients."""
        for depth, optimiser in self.optimisers.items():
            own = {name: grads[name] for name in self.names[depth] if name in grads}
            if own:
                optimiser.step(own, self.factors[depth] * learning_rate)

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Those of all depths."""
        arrays: dict[str, np.ndarray] = {}
        values = {}
        for depth, optimiser in self.optimisers.items():
            own, values[str(depth)] = optimiser.state()
            arrays |= own
        return arrays, values

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restores what :meth:`state` returned."""
        for depth, optimiser in self.optimisers.items():
            optimiser.restore(arrays, values[str(depth)])


def lowest_trained(progress: float, unfreeze: float, lowest: int, top: int) -> int:
    """The lowest depth that is trained at a progress: from ``top``, one lower after the other.

    All of them, down to ``lowest``, are trained from the progress ``unfreeze`` on; each is
    unfrozen as long after the one above it as the first was trained alone.

    >>> [lowest_trained(p, 0.5, lowest=1, top=4) for p in (0, 0.12, 0.13, 0.25, 0.49, 0.5, 1)]
    [4, 4, 3, 2, 1, 1, 1]
    """
    if progress >= unfreeze:
        return lowest
    return max(lowest, top - int(progress / unfreeze * (top - lowest + 1)))
