import numpy as np
import pytest
from model_checks import check_layer

from minillm import ops
from minillm.layers import feed_forward

pytestmark = pytest.mark.usefixtures("both_twins")


@pytest.mark.parametrize("activation", [None, ops.tanh])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients(activation, bias):
    rng = np.random.default_rng(0)
    params = {"hidden.W": rng.standard_normal((3, 4))}
    if bias:
        params["hidden.b"] = rng.standard_normal(4)

    def layer(params, x):
        return feed_forward.layer(params, "hidden", x, activation)

    x = rng.standard_normal((2, 5, 3))
    check_layer(layer, params, x, rng)
    expected = x @ params["hidden.W"] + params.get("hidden.b", 0)
    expected = np.tanh(expected) if activation else expected
    np.testing.assert_allclose(layer(params, x)[0], expected, rtol=1e-12)


def test_fresh_weights_have_the_variances_that_are_said():
    rng = np.random.default_rng(0)
    params = feed_forward.new_layer("x", 100, 400, rng)
    assert params["x.W"].dtype == np.float32
    assert 0.99 * 0.1 < np.abs(params["x.W"]).max() <= 0.1
    assert not params["x.b"].any()
    x = rng.standard_normal((300, 100))
    for variance in (1.0, 2.0):
        y = x @ feed_forward.normal((100, 400), variance, rng, np.float64)
        assert y.var() == pytest.approx(variance, rel=0.05)
