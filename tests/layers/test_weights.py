"""Weights that know how to multiply: their products, and the gradients of what is trained."""

import numpy as np
import pytest
from model_checks import check_layer

from minillm.layers import dense
from minillm.layers.gradients import PartlyTrained
from minillm.quantised import QuantisedLora, quantise
from minillm.training.lora import LoraWeight

pytestmark = pytest.mark.usefixtures("both_twins")


def arrays(rng, I=3, O=4, dtype=np.float64):
    shapes = {"W": (I, O), "W.A": (I, 2), "W.B": (2, O), "b": (O,)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def test_gradients_of_an_addition_to_a_quantised_weight():
    """Activations of float64 are not rounded, so every coordinate can be checked."""
    rng = np.random.default_rng(0)
    p = arrays(rng, I=32, O=4)
    W, x = quantise(p["W"].astype(np.float32), "Q8_0"), rng.standard_normal((2, 32))

    def layer(params, x):
        return dense.affine({"W": QuantisedLora(W, params["W.A"], params["W.B"])}, "W", x)

    trained = {name: p[name] for name in ("W.A", "W.B")}
    expected = x @ (W.dense() + p["W.A"] @ p["W.B"])
    np.testing.assert_allclose(layer(trained, x)[0], expected, rtol=1e-5, atol=1e-5)
    check_layer(layer, trained, x, rng)


def test_a_quantised_weight_is_constant_and_may_have_a_bias():
    rng = np.random.default_rng(0)
    W, x = quantise(rng.standard_normal((32, 4)).astype(np.float32), "Q8_0"), rng.random((2, 32))
    y, backward = dense.affine({"W": W}, "W", x)
    np.testing.assert_allclose(y, x @ W.dense(), rtol=1e-5, atol=1e-5)
    dx, gradients = backward(y)
    assert gradients == {}
    np.testing.assert_allclose(dx, y @ W.dense().T, rtol=1e-5, atol=1e-5)
    b = np.arange(4.0)
    z, backward = dense.affine({"W": W, "b": b}, "W", x, "b")
    np.testing.assert_allclose(z, y + b, rtol=1e-12)
    dx, gradients = backward(y)
    np.testing.assert_array_equal(gradients["b"], y.sum(axis=0))
    with pytest.raises(ValueError, match="b: expected shape"):
        dense.affine({"W": W, "b": np.ones(3)}, "W", x, "b")


@pytest.mark.parametrize("trained", [True, False])
def test_a_bias_has_a_gradient_where_it_is_trained_whatever_its_weight_is(trained):
    rng = np.random.default_rng(0)
    p, x = arrays(rng), rng.standard_normal((2, 5, 3))
    dy = rng.standard_normal((2, 5, 4))
    for weight in (p["W"], LoraWeight(p["W"], p["W.A"], p["W.B"])):
        params = PartlyTrained({"W": weight, "b": p["b"]}, ["b"] if trained else ["others"])
        _, backward = dense.affine(params, "W", x, "b")
        db = backward(dy)[1].get("b")
        assert (db is not None) == trained
        if trained:
            np.testing.assert_allclose(db, dy.sum(axis=(0, 1)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 5), (1, 4), (200, 4)])
def test_a_gradient_of_another_shape_is_refused(shape):
    """A kernel would read past its end."""
    rng = np.random.default_rng(0)
    for low_rank, dtype in ((LoraWeight, np.float64), (QuantisedLora, np.float32)):
        p = arrays(rng, 32, 4, dtype)
        W = p["W"] if low_rank is LoraWeight else quantise(p["W"], "Q8_0")
        weight = low_rank(W, p["W.A"], p["W.B"])
        _, backward = dense.affine({"W": weight}, "W", rng.standard_normal((3, 32)).astype(dtype))
        with pytest.raises(ValueError, match="dy"):
            backward(rng.standard_normal(shape).astype(dtype))


@pytest.mark.parametrize(("name", "shape"), [("A", (7, 2)), ("B", (3, 4)), ("B", (2, 5))])
def test_additions_that_do_not_fit_are_refused(name, shape):
    additions = {"A": np.ones((32, 2)), "B": np.ones((2, 4))} | {name: np.ones(shape)}
    weights = [LoraWeight(np.ones((32, 4)), **additions)]
    weights.append(QuantisedLora(quantise(np.ones((32, 4), np.float32), "Q8_0"), **additions))
    for weight in weights:
        with pytest.raises(ValueError, match=f"{name}: expected"):
            dense.affine({"W": weight}, "W", np.ones((3, 32)))
