import math

import pytest

from minillm.metrics import bits, perplexity


@pytest.mark.parametrize("sides", [1, 2, 65])
def test_a_fair_die(sides):
    assert perplexity(math.log(sides)) == pytest.approx(sides)
    assert bits(math.log(sides)) == pytest.approx(math.log2(sides))


def test_a_hopeless_model_has_no_perplexity_to_print():
    assert perplexity(1e6) == math.inf
