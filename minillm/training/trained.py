"""The part of a model that is trained: all of it, its upper layers, or additions to its weights.

    trained = Trained(params)            the arrays that an optimiser changes, by name
    grads = trained.gradients(backward)  of these alone

The backward of a model's loss is handed the names, so that it need not compute what nobody wants:
see :class:`minillm.models.base.Model`.
"""

from collections.abc import Collection, Iterator

import numpy as np

from minillm.layers.types import Backward
from minillm.training.lora import LoRA
from minillm.training.optimisers import Arrays


class Trained(Collection[str]):
    """The names of the weights whose gradients are needed, and the arrays that are trained.

    With LoRA the arrays are A and B, ``params`` has them beside any whole weights, and the
    gradients needed are those of the weights that they are added to.
    """

    def __init__(self, params: Arrays, lora: LoRA | None = None):
        self.params, self.lora = params, lora
        self._names = {*params, *(lora.frozen if lora else ())}

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def gradients(self, backward: Backward) -> dict[str, np.ndarray]:
        """The gradients of the trained arrays, and of nothing else, from the backward of a loss."""
        gradients = dict(backward(self))
        if self.lora is not None:
            gradients |= self.lora.gradients(gradients)
        return {name: gradient for name, gradient in gradients.items() if name in self.params}
