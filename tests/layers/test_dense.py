"""Dense layers: gradients, also of the trained weights only, and fresh weights."""

import numpy as np
import pytest

from minillm.layers import dense
from minillm.layers.fresh import draw_all, glorot, normal, side_by_side

pytestmark = pytest.mark.usefixtures("both_twins")


def test_fresh_weights_have_the_variances_that_are_said():
    rng = np.random.default_rng(0)
    params = draw_all(dense.new_layer("x", 100, 400), rng)
    assert params["x.W"].dtype == np.float32
    assert 0.99 * 0.1 < np.abs(params["x.W"]).max() <= 0.1
    assert not params["x.b"].any()
    x = rng.standard_normal((300, 100))
    for variance in (1.0, 2.0):
        y = x @ normal((variance / 100) ** 0.5)((100, 400), rng, np.float64)
        assert y.var() == pytest.approx(variance, rel=0.05)
    several = side_by_side(3, glorot)((100, 3 * 300), rng, np.float64)
    for W in np.split(several, 3, axis=1):
        assert W.var() == pytest.approx(2 / 400, rel=0.05)
