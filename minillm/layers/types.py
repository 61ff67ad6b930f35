"""The types that layers and models share."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Params = dict[str, Any]  # weights by name: arrays, or see minillm.layers.dense
State = dict[str, NDArray]  # all that a model keeps of what it has read
Gradients = dict[str, NDArray]
Ids = NDArray[np.integer]  # ids, positions and lengths
Rng = np.random.Generator | None  # None: there is no dropout
Op = Callable[[NDArray], tuple[NDArray, Callable]]
Backward = Callable[..., Gradients]
