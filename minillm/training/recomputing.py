"""Recomputing: a block that keeps only its input, and runs once more for its backward pass.

A backward pass needs the results of the forward pass: in a Transformer's block the norms, queries,
keys, values and hidden numbers of every token, some 16 D floats per token.  Over L blocks that is
far more than the weights of a small model.  A recomputed block keeps its input, D floats, and
frees all other results at once.  Before its backward pass it runs forward again:

    kept                     without: 16 D L for each token        with: D L, and 16 D of one block
    products of a step       without: 1 forward, 2 backward        with: 2 forward, 2 backward

Thus a step takes a third longer, and with 30 layers a tenth of the memory.  Where the weights are
frozen, as with LoRA, a backward pass has one product for each product of the forward pass, and a
step takes half as long again.

Dropout draws the same numbers again, because the generator is copied before the first forward.

Source: Chen, Xu, Zhang and Guestrin (2016), "Training deep nets with sublinear memory cost",
section 4.1.
"""

from collections.abc import Callable
from copy import deepcopy

from numpy.typing import NDArray

from minillm.layers.types import Rng


def recomputed(
    forward: Callable[[NDArray, Rng], tuple[NDArray, Callable]], x: NDArray, rng: Rng = None
) -> tuple[NDArray, Callable]:
    """y = forward(x, rng), with a backward that runs ``forward`` again.

    ``forward`` returns y and its ``backward(dy)``.  Keeps x.
    """
    again = deepcopy(rng)
    y, _ = forward(x, rng)

    def backward(dy):
        _, forward_backward = forward(x, deepcopy(again))
        return forward_backward(dy)

    return y, backward
