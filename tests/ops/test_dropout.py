import numpy as np

from minillm.ops import dropout


def test_without_an_rng_or_a_rate_x_itself_is_returned():
    x, dy = np.ones((2, 3)), np.full((2, 3), 2.0)
    for rate, rng in ((0.5, None), (0.0, np.random.default_rng(0))):
        y, backward = dropout(x, rate, rng)
        assert y is x
        assert backward(dy) is dy


def test_with_an_rng_it_drops_the_same_forward_and_backward():
    x = np.ones((50, 20))
    y, backward = dropout(x, 0.5, np.random.default_rng(0))
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_array_equal(backward(x), y)
