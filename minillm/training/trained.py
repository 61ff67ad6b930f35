"""The part of a model that is trained: all of it, its upper layers, or adapters of its weights.

    trained = Trained(params)            the arrays that an optimiser changes, by name
    trained.mark(model)                  layers do no work for the gradients of any others
    grads = trained.gradients(backward)  the gradients of these arrays only
    trained.merge()                      after each change of the arrays: update the model by them

The lower layers of a pre-trained model have learned features of any text, its upper layers features
of their task.  So fine-tuning may freeze the lower layers: they need no gradients and no moments,
and a layer below all trained weights needs no backward pass.

Source: Howard and Ruder (2018), "Universal language model fine-tuning for text classification",
section 3.3.
"""

from typing import Any

import numpy as np

from minillm.layers.gradients import PartlyTrained
from minillm.layers.types import Backward
from minillm.training.layout import Arrays
from minillm.training.lora import LoRA


class Trained:
    """The arrays that are trained.

    With LoRA, ``params`` has A and B, and any weights that are trained as a whole.  The weights to
    which A and B are added need gradients.
    """

    def __init__(self, params: Arrays, lora: LoRA | None = None):
        self.params, self.lora = params, lora

    def mark(self, model: Any) -> None:
        """Mark the parameters of a model, so that its layers know what is trained."""
        names = {*self.params, *(self.lora.names if self.lora else ())}
        model.params = PartlyTrained(model.params, names)

    def gradients(self, backward: Backward) -> dict[str, np.ndarray]:
        """The gradients of the trained arrays only, by the backward of a loss."""
        gradients = dict(backward())
        if self.lora is not None:
            gradients |= self.lora.gradients(gradients)
        return {name: gradient for name, gradient in gradients.items() if name in self.params}

    def merge(self) -> None:
        """Update the weights of the model, after A and B have changed (if there are any)."""
        if self.lora is not None:
            self.lora.merge()


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
