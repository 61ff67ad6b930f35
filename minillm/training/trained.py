"""The part of a model that is trained: all of it, its upper layers, or adapters of its weights.

trained = Trained(params)            the arrays that an optimiser changes, by name
trained.mark(model)                  layers do no work for the gradients of any others
grads = trained.gradients(backward)  the gradients of these arrays only
"""

from typing import Any

import numpy as np

from minillm.layers.gradients import PartlyTrained
from minillm.layers.types import Backward
from minillm.training.layout import Arrays
from minillm.training.lora import LoRA


class Trained:
    """The arrays that are trained.

    With LoRA, ``params`` has A and B, beside any weights that are trained as a whole.  The weights
    that A and B are added to need gradients.
    """

    def __init__(self, params: Arrays, lora: LoRA | None = None):
        self.params, self.lora = params, lora

    def mark(self, model: Any) -> None:
        """Let the layers of a model know what is trained."""
        names = {*self.params, *(self.lora.names if self.lora else ())}
        model.params = PartlyTrained(model.params, names)

    def gradients(self, backward: Backward) -> dict[str, np.ndarray]:
        """Run the backward of a loss, and return the gradients of the trained arrays only."""
        gradients = dict(backward())
        if self.lora is not None:
            gradients |= self.lora.gradients(gradients)
        return {name: gradient for name, gradient in gradients.items() if name in self.params}
