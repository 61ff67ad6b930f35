"""The part of a model that is trained: all of it, its upper layers, or additions to its weights.

    trained = Trained(params)            the arrays that an optimiser changes, by name
    grads = trained.gradients(backward)  the gradients of these arrays only

The backward of a model's loss gets the names, and can skip all other gradients: see
:class:`minillm.models.base.Model`.
"""

from collections.abc import Collection, Iterator

import numpy as np

from minillm.layers.types import Backward
from minillm.training.lora import LoRA
from minillm.training.optimisers import Arrays


class Trained(Collection[str]):
    """The names of the weights that need gradients, and the arrays that are trained.

    With LoRA, ``params`` has A and B, beside any weights that are trained as a whole.  The weights
    that A and B are added to need gradients.
    """

    def __init__(self, params: Arrays, lora: LoRA | None = None):
        self.params, self.lora = params, lora
        self._names = {*params, *(lora.names if lora else ())}

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def gradients(self, backward: Backward) -> dict[str, np.ndarray]:
        """Run the backward of a loss, and return the gradients of the trained arrays only."""
        gradients = dict(backward(self))
        if self.lora is not None:
            gradients |= self.lora.gradients(gradients)
        return {name: gradient for name, gradient in gradients.items() if name in self.params}
