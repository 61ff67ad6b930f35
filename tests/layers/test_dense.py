"""Dense layers: gradients, also of the trained weights only, and fresh weights."""

import weakref

import numpy as np
import pytest
from model_checks import check_layer

from minillm import ops
from minillm.layers import dense
from minillm.layers.fresh import draw_all, glorot, normal, side_by_side
from minillm.layers.gradients import PartlyTrained

pytestmark = pytest.mark.usefixtures("both_twins")


def weights(rng, bias=True, suffix=""):
    params = {f"hidden.W{suffix}": rng.standard_normal((3, 4))}
    return params | ({f"hidden.b{suffix}": rng.standard_normal(4)} if bias else {})


@pytest.mark.parametrize("activation", [None, ops.tanh])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients(activation, bias):
    rng = np.random.default_rng(0)
    params, x = weights(rng, bias, "_1"), rng.standard_normal((2, 5, 3))

    def layer(params, x):
        return dense.layer(params, "hidden", x, activation, suffix="_1")

    check_layer(layer, params, x, rng)
    expected = x @ params["hidden.W_1"] + params.get("hidden.b_1", 0)
    expected = np.tanh(expected) if activation else expected
    np.testing.assert_allclose(layer(params, x)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("trained", [set(), {"hidden.W"}, {"hidden.b"}, {"hidden.W", "hidden.b"}])
def test_gradients_of_the_trained_weights_are_those_of_all(trained):
    rng = np.random.default_rng(0)
    params, x = weights(rng), rng.standard_normal((2, 5, 3))
    y, backward = dense.layer(params, "hidden", x, ops.tanh)
    y_again, part_backward = dense.layer(PartlyTrained(params, trained), "hidden", x, ops.tanh)
    np.testing.assert_array_equal(y_again, y)
    dy = rng.standard_normal(y.shape)
    (dx, whole), (dx_again, part) = backward(dy), part_backward(dy)
    np.testing.assert_array_equal(dx_again, dx)
    assert trained <= part.keys()
    assert "hidden.W" in trained or "hidden.W" not in part
    for name, gradient in part.items():
        np.testing.assert_array_equal(gradient, whole[name])


@pytest.mark.parametrize("trained", [{"p.W"}, set()])
@pytest.mark.parametrize("shape", [(3, 5), (1, 4), (200, 4)])
def test_a_gradient_of_another_shape_is_refused(shape, trained):
    """A kernel would read past its end."""
    params = PartlyTrained({"p.W": np.ones((6, 4))}, trained)
    _, backward = dense.layer(params, "p", np.random.default_rng(0).standard_normal((3, 6)))
    with pytest.raises(ValueError, match="dy"):
        backward(np.ones(shape))


def test_the_input_of_a_matrix_that_is_not_trained_is_not_kept():
    x = np.ones((3, 6))
    kept = weakref.ref(x)
    _, backward = dense.layer(PartlyTrained({"p.W": np.ones((6, 4))}, ()), "p", x)
    del x
    assert kept() is None
    np.testing.assert_array_equal(backward(np.ones((3, 4)))[0], np.full((3, 6), 4))


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
