"""Layers of thinc's convention as ops, with a stand-in for thinc."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.thinc_layers import op_of_layer
from minillm.errors import InputError
from minillm.testing import GradientError, check_gradients


class Layer:
    """A layer with weights and inner layers, as thinc has them."""

    def __init__(self, call, layers=(), **params):
        self.call, self.layers, self.params, self.grads = call, list(layers), params, {}
        self.param_names = [*params, "unset"]

    def walk(self):
        yield self
        for layer in self.layers:
            yield from layer.walk()

    def __call__(self, X, is_train):
        assert is_train is True
        return self.call(self, X)

    def has_param(self, name):
        return name in self.params

    def get_param(self, name):
        return self.params[name]

    def set_param(self, name, value):
        self.params[name] = value

    def get_grad(self, name):
        return self.grads[name]

    def set_grad(self, name, value):
        self.grads[name] = value

    def inc_grad(self, name, value):
        self.grads[name] += value


def linear(rng, I, O, factor=1.0):
    def call(layer, X):
        W = layer.get_param("W")

        def backprop(dY):
            layer.inc_grad("W", factor * dY.T @ X)
            layer.inc_grad("b", dY.sum(axis=0))
            return dY @ layer.get_param("W")  # thinc's layers may read it late

        return X @ W.T + layer.get_param("b"), backprop

    W, b = rng.standard_normal((O, I)).astype("f"), np.zeros(O, "f")
    return Layer(call, W=W, b=b)


def chain(*layers):
    def call(layer, X):
        Y, first = layers[0](X, True)
        Z, second = layers[1](Y, True)
        return Z, lambda dZ: first(second(dZ))

    return Layer(call, layers)


def of_data(layer):
    """The layer on objects with data and lengths, which are as long as the data."""

    def call(_, X):
        Y, backprop = layer(X.data, True)
        return (
            SimpleNamespace(data=Y, lengths=X.lengths),
            lambda dY: SimpleNamespace(data=backprop(dY.data), lengths=dY.lengths),
        )

    return Layer(call, [layer])


def of_each(layer):
    def call(_, X):
        pairs = [layer(part, True) for part in X]
        ends = [backprop for _, backprop in pairs]
        return [Y for Y, _ in pairs], lambda dY: [end(d) for end, d in zip(ends, dY, strict=True)]

    return Layer(call, [layer])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_right_layer_passes_and_keeps_its_weights(rng):
    layer, X = linear(rng, 3, 2), rng.standard_normal((4, 3)).astype("f")
    before = {name: value.copy() for name, value in layer.params.items()}
    op, args = op_of_layer(layer, X)
    assert [a.shape for a in args] == [(4, 3), (2, 3), (2,)]
    assert {a.dtype for a in args} == {np.dtype(np.float64)}
    assert check_gradients(op, *args, rng=rng) < 1e-6
    for name, value in before.items():
        np.testing.assert_array_equal(layer.params[name], value)
        assert layer.params[name].dtype == np.float32


def test_a_wrong_layer_is_found_by_the_name_of_its_weight(rng):
    layer = chain(linear(rng, 3, 2), linear(rng, 2, 4, factor=2.0))
    op, args = op_of_layer(layer, rng.standard_normal((5, 3)))
    with pytest.raises(GradientError, match="the gradient with respect to W_2 is wrong"):
        check_gradients(op, *args, rng=rng)


def test_lists_tuples_and_objects_with_data(rng):
    layer = linear(rng, 3, 2)
    parts = [rng.standard_normal((length, 3)) for length in (2, 1)]
    op, args = op_of_layer(of_each(layer), parts)
    assert [a.shape for a in args] == [(2, 3), (1, 3), (2, 3), (2,)]
    assert check_gradients(op, *args, rng=rng) < 1e-6
    ragged = SimpleNamespace(data=parts[0], lengths=np.array([1, 1]))
    op, args = op_of_layer(of_data(layer), ragged)
    assert check_gradients(op, *args, rng=rng) < 1e-6


def test_ids_are_no_arguments(rng):
    def call(layer, ids):
        E = layer.get_param("E")

        def backprop(dY):
            dE = np.zeros_like(E)
            np.add.at(dE, ids, dY)
            layer.inc_grad("E", dE)
            return np.zeros(len(ids))  # thinc's layers return something for their ids

        return E[ids], backprop

    op, args = op_of_layer(Layer(call, E=rng.standard_normal((4, 2))), np.array([1, 3, 1]))
    assert len(args) == 1
    assert check_gradients(op, *args, rng=rng) < 1e-6


def test_what_is_no_layer(rng):
    with pytest.raises(InputError, match="found function without walk, get_param"):
        op_of_layer(lambda X, is_train: (X, None), np.ones(2))
    nothing = Layer(lambda layer, X: (X, lambda dY: dY))
    with pytest.raises(InputError, match="floats in X, or a layer with weights, found neither"):
        op_of_layer(nothing, np.array([1, 2]))
    silent = Layer(lambda layer, X: (np.array([1]), lambda dY: X))
    op, args = op_of_layer(silent, np.ones(2))
    with pytest.raises(InputError, match="array of floats in the output, found an array of int"):
        op(*args)


@pytest.mark.skipif(not importlib.util.find_spec("thinc"), reason="needs thinc")
def test_layers_of_thinc(rng):
    from benchmarks.thinc import cases, fault, use_float64

    use_float64()
    made = cases()
    for name in ("Linear", "Maxout", "LayerNorm", "reduce_max", "ParametricAttention_v2"):
        assert fault(name, made[name], seeds=1) == ""
    assert "is wrong" in fault("Dish", made["Dish"], seeds=1)
