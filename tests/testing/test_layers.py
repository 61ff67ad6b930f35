"""Layers of thinc's convention as ops, with a stand-in for thinc."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.thinc_layers import op_of_layer
from minillm.errors import InputError
from minillm.testing import check_gradients

from .faulty import refusal


class Layer:
    """A layer with weights and inner layers, as thinc has them."""

    def __init__(self, call, layers=(), **params):
        self.call, self.layers, self.params, self.grads = call, list(layers), params, {}
        self.param_names = [*params, "unset"]
        self.has_param, self.get_param = self.params.__contains__, self.params.__getitem__
        self.set_param, self.get_grad = self.params.__setitem__, self.grads.__getitem__
        self.set_grad = self.grads.__setitem__

    def walk(self):
        yield self
        for layer in self.layers:
            yield from layer.walk()

    def __call__(self, X, is_train):
        assert is_train is True
        return self.call(self, X)


def linear(rng, I, O, factor=1.0):
    def call(layer, X):
        W = layer.get_param("W")

        def backprop(dY):
            layer.grads["W"] += factor * dY.T @ X
            layer.grads["b"] += dY.sum(axis=0)
            return dY @ layer.get_param("W")  # thinc's layers may read it late

        return X @ W.T + layer.get_param("b"), backprop

    return Layer(call, W=rng.standard_normal((O, I)).astype("f"), b=np.zeros(O, "f"))


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
        Ys, ends = zip(*[layer(part, True) for part in X], strict=True)
        return list(Ys), lambda dY: [end(d) for end, d in zip(ends, dY, strict=True)]

    return Layer(call, [layer])


def table(rng):
    def call(layer, ids):
        E = layer.get_param("E")

        def backprop(dY):
            np.add.at(layer.grads["E"], ids, dY)
            return np.zeros(len(ids))  # thinc's layers return something for their ids

        return E[ids], backprop

    return Layer(call, E=rng.standard_normal((4, 2)))


def ragged(rng):
    return SimpleNamespace(data=rng.standard_normal((2, 3)), lengths=np.array([1, 1]))


WEIGHTS = [(2, 3), (2,)]
CASES = {
    "one": (linear, lambda rng: rng.standard_normal((4, 3)).astype("f"), [(4, 3)]),
    "a list": (
        lambda *sizes: of_each(linear(*sizes)),
        lambda rng: [rng.standard_normal((length, 3)) for length in (2, 1)],
        [(2, 3), (1, 3)],
    ),
    "data": (lambda *sizes: of_data(linear(*sizes)), ragged, [(2, 3)]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_right_layer_passes_and_keeps_its_weights(name):
    rng, (make, draw, shapes) = np.random.default_rng(0), CASES[name]
    layer = make(rng, 3, 2)
    own = [node.params for node in layer.walk() if node.params]
    before = {key: value.copy() for key, value in own[0].items()}
    op, args = op_of_layer(layer, draw(rng))
    assert [a.shape for a in args] == shapes + WEIGHTS
    assert {a.dtype for a in args} == {np.dtype(np.float64)}
    assert check_gradients(op, *args, rng=rng) < 1e-6
    for key, value in before.items():
        np.testing.assert_array_equal(own[0][key], value)
        assert own[0][key].dtype == np.float32


def test_a_wrong_layer_is_found_by_the_name_of_its_weight():
    rng = np.random.default_rng(0)
    layer = chain(linear(rng, 3, 2), linear(rng, 2, 4, factor=2.0))
    op, args = op_of_layer(layer, rng.standard_normal((5, 3)))
    assert "the gradient with respect to W_2 is wrong" in refusal(op, *args)


def test_ids_are_no_arguments():
    rng = np.random.default_rng(0)
    op, args = op_of_layer(table(rng), np.array([1, 3, 1]))
    assert len(args) == 1
    assert check_gradients(op, *args, rng=rng) < 1e-6


def test_what_is_no_layer():
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
def test_layers_of_thinc():
    from benchmarks.thinc import cases, fault, use_float64

    use_float64()
    made = cases()
    for name in ("Linear", "Maxout", "LayerNorm", "reduce_max", "ParametricAttention_v2"):
        assert fault(name, made[name], seeds=1) == ""
    assert "is wrong" in fault("Dish", made["Dish"], seeds=1)
