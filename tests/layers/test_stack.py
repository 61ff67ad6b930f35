"""A stack of blocks runs forward, and back as far as a weight is trained."""

import numpy as np
import pytest

from minillm.layers.gradients import PartlyTrained
from minillm.layers.stack import stacked


@pytest.mark.parametrize("lowest", range(-1, 4))
def test_a_backward_stops_below_the_lowest_trained_block(lowest):
    """Block n is the lowest trained one of three; -1: a weight below them; 3: one above."""
    reached = []

    def backward_of(number):
        def backward(dy):
            reached.append(number)
            return dy + 1, {f"b.{number}.W": dy}

        return backward

    blocks = {f"b.{n}": lambda x, n=n: (x + n, backward_of(n)) for n in range(3)}
    params = PartlyTrained({}, {"below.E" if lowest < 0 else f"b.{lowest}.W"})
    y, backward = stacked(params, (np.ones(1), lambda dx: {"below.E": dx}), blocks, ["below"])
    assert y == 4
    gradients = backward(np.zeros(1))
    dx = gradients.pop("below.E", None)
    assert reached == list(range(2, max(lowest, 0) - 1, -1))
    assert {name: dW.tolist() for name, dW in gradients.items()} == {
        f"b.{number}.W": [2 - number] for number in reached
    }
    assert dx is None if lowest >= 0 else dx == 3
