"""Ops made of classes, of pairs of functions, and of the functions of PyTorch and JAX."""

import functools
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings

from minillm.errors import InputError
from minillm.testing import GradientError, arrays, as_op
from minillm.testing.strategies import given_op_cases, op_cases

LEGEND = "B T I, I O, O"
FEW = settings(max_examples=max(5, settings.default.max_examples // 4))


def gradients_of(x, W, dy, wrong):
    dW = x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
    return dy @ W.T, dW * (1.001 if wrong else 1), dy.reshape(-1, dy.shape[-1]).sum(axis=0)


def affine(x, W, b, wrong=False):
    return x @ W + b, lambda dy: gradients_of(x, W, dy, wrong)


def pair_with_a_cache(wrong=False):
    return lambda x, W, b: (x @ W + b, (x, W)), lambda dy, cache: gradients_of(*cache, dy, wrong)


def pair_with_the_arguments(wrong=False):
    return lambda x, W, b: x @ W + b, lambda dy, x, W, b: gradients_of(x, W, dy, wrong)


class Affine:
    """Everything comes in through forward, and the object keeps what backward needs."""

    def __init__(self, wrong=False):
        self.wrong = wrong

    def forward(self, x, W, b):
        self.x, self.W = x, W
        return x @ W + b

    def backward(self, dy):
        return gradients_of(self.x, self.W, dy, self.wrong)


class Layer:
    """The weights are given to the constructor, and their gradients are added up."""

    wrong = False

    def __init__(self, W, b):
        self.W, self.b = W, b
        self.dW, self.db = np.zeros_like(W), np.zeros_like(b)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy):
        dx, dW, db = gradients_of(self.x, self.W, dy, self.wrong)
        self.dW += dW
        self.db += db
        return dx


class WrongLayer(Layer):
    wrong = True


RIGHT = {
    "function": affine,
    "pair with a cache": pair_with_a_cache(),
    "pair with the arguments": pair_with_the_arguments(),
    "class": Affine,
    "object": Affine(),
    "class with weights": Layer,
}
WRONG = {
    "function": functools.partial(affine, wrong=True),
    "pair with a cache": pair_with_a_cache(wrong=True),
    "pair with the arguments": pair_with_the_arguments(wrong=True),
    "object": Affine(wrong=True),
    "class with weights": WrongLayer,
}


@pytest.mark.parametrize("thing", RIGHT.values(), ids=RIGHT)
@FEW
@given_op_cases(LEGEND)
def test_right_gradients_pass(thing, case):
    assert case.check(thing) < 1e-7


@pytest.mark.parametrize("thing", WRONG.values(), ids=WRONG)
@FEW
@given_op_cases(LEGEND)
def test_wrong_gradients_are_found_and_named(thing, case):
    with pytest.raises(GradientError, match="gradient with respect to W is wrong"):
        case.check(thing)


@pytest.mark.parametrize("thing", [Affine, Affine()], ids=["class", "object"])
def test_a_backward_belongs_to_its_own_call(thing):
    op, (x, W, b) = as_op(thing), arrays("B I, I O, O")
    y, backward = op(x, W, b)
    before = backward(y)
    op(2 * x, W, b)
    for one, other in zip(before, backward(y), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("thing", [pair_with_a_cache(), pair_with_the_arguments(), Affine, Layer])
def test_the_backward_has_the_names_and_the_source_of_its_author(thing):
    _y, backward = as_op(thing)(*arrays(LEGEND))
    assert list(inspect.signature(backward).parameters) == ["dy"]
    assert inspect.unwrap(backward).__code__.co_filename == __file__


def crash(dy):
    return dy @ dy


class Crash:
    def forward(self, x):
        return 2 * x

    def backward(self, dy):
        return crash(dy)


@pytest.mark.parametrize("thing", [Crash, (lambda x: (2 * x, 0), lambda dy, cache: crash(dy))])
def test_an_exception_of_a_backward_is_told_with_its_authors_line(thing):
    line = r"raised ValueError.*\nin test_adapters.py, line \d+: return dy @ dy  # dy \(3, 4\)\n"
    with pytest.raises(GradientError, match=f"(?s){line}it was given dy "):
        arrays("B D", B=3, D=4).check(thing)


def test_a_function_is_returned_as_it_is():
    assert as_op(affine) is affine


# --- several outputs --------------------------------------------------------------------


def both(x):
    return np.sin(x), np.cos(x)


def both_backward(dsin, dcos, x):
    return dsin * np.cos(x) - dcos * np.sin(x)


class Both:
    def forward(self, x):
        self.x = x
        return both(x)

    def backward(self, dsin, dcos):
        return both_backward(dsin, dcos, self.x)


@pytest.mark.parametrize(
    "thing",
    [(both, both_backward), (lambda x: (*both(x), x), both_backward), Both],
    ids=["arguments", "cache", "class"],
)
@given_op_cases("B D")
def test_several_outputs(thing, case):
    """None in place of an upstream gradient is the checker's, and becomes zeros."""
    assert case.check(thing) < 1e-7


# --- an op that draws -------------------------------------------------------------------


def dropout(x, rng):
    kept = rng.random(x.shape) < 0.5
    return x * kept, lambda dy: dy * kept


@given(case=op_cases("B D"))
def test_an_op_with_an_rng_draws_the_same_at_each_call(case):
    assert case.check(dropout) < 1e-7


def test_an_optional_rng_is_left_out():
    def op(x, rng=None):
        assert rng is None
        return 2 * x, lambda dy: 2 * dy

    assert as_op(op) is op
    arrays("B").check(op)


# --- bad input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (3, "expected a function that returns .* found 3"),
        (int, "expected a function that returns .* found <class 'int'>"),
        ((lambda x: x, lambda dy: dy), r"op: expected \(dy, cache\), .*; found 1 parameters"),
        (
            (lambda x: x, lambda dy, x, y, z: dy),
            "found 4 parameters, and .* returns an array of fl",
        ),
    ],
)
def test_what_is_no_op_is_told_in_one_line(thing, message):
    with pytest.raises(InputError, match=message) as caught:
        arrays("B", B=2).check(thing)
    assert "\n" not in str(caught.value)


def test_a_layer_without_the_gradient_of_a_weight():
    class Scale:
        def __init__(self, g):
            self.g = g

        def forward(self, x):
            self.x = x
            return x * self.g

        def backward(self, dy):
            return dy * self.g

    _y, backward = as_op(Scale)(*arrays("B D, D", B=2, D=3))
    with pytest.raises(InputError, match=r"Scale: expected the gradient of g, .* attribute dg"):
        backward(np.ones((2, 3)))


# --- other libraries --------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_affine():
    torch = pytest.importorskip("torch")

    class TorchAffine(torch.autograd.Function):
        factor = 1.0

        @staticmethod
        def forward(ctx, x, W, b):
            ctx.save_for_backward(x, W)
            return x @ W + b

        @classmethod
        def backward(cls, ctx, dy):
            x, W = ctx.saved_tensors
            dW = x.flatten(0, -2).T @ dy.flatten(0, -2)
            return dy @ W.T, cls.factor * dW, dy.flatten(0, -2).sum(0)

    class WrongTorchAffine(TorchAffine):
        factor = 1.001

    class Separate(torch.autograd.Function):
        """The newer form, with two outputs and an argument that is no array of floats."""

        @staticmethod
        def forward(x, ids):
            return x[ids].sin(), x.cos()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, dsin, dcos):
            x, ids = ctx.saved_tensors
            dx = torch.zeros_like(x).index_add(0, ids, dsin * x[ids].cos())
            return dx - dcos * x.sin(), None

    return SimpleNamespace(right=TorchAffine, wrong=WrongTorchAffine, separate=Separate)


@FEW
@given(case=op_cases(LEGEND))
def test_a_function_of_torch(torch_affine, case):
    assert case.check(torch_affine.right) < 1e-7
    with pytest.raises(
        GradientError, match=r"(?s)respect to W is wrong.*as_op\(WrongTorchAffine\)"
    ):
        case.check(torch_affine.wrong)


def test_the_backward_of_torch_has_its_authors_names(torch_affine):
    _y, backward = as_op(torch_affine.separate)(*arrays("V D, ids: B < V"))
    assert list(inspect.signature(backward).parameters) == ["dsin", "dcos"]
    assert inspect.unwrap(backward).__code__.co_filename == __file__


@FEW
@given(case=op_cases("V D, ids: B < V"))
def test_a_function_of_torch_with_two_outputs_and_ids(torch_affine, case):
    assert case.check(torch_affine.separate) < 1e-7


@pytest.fixture(scope="module")
def jax_affine():
    jax = pytest.importorskip("jax")

    def make(factor):
        @jax.custom_vjp
        def jax_affine(x, W, b):
            return x @ W + b

        def backward(kept, dy):
            x, W = kept
            rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
            return dy @ W.T, factor * rows.T @ drows, drows.sum(axis=0)

        jax_affine.defvjp(lambda x, W, b: (x @ W + b, (x, W)), backward)
        return jax_affine

    @jax.custom_vjp
    def separate(x, ids):
        return jax.numpy.sin(x[ids]), jax.numpy.cos(x)

    def backward(kept, dys):
        x, ids = kept
        dx = jax.numpy.zeros_like(x).at[ids].add(dys[0] * jax.numpy.cos(x[ids]))
        return dx - dys[1] * jax.numpy.sin(x), None

    separate.defvjp(lambda x, ids: (separate(x, ids), (x, ids)), backward)
    return SimpleNamespace(right=make(1.0), wrong=make(1.001), separate=separate)


# JAX compiles each operation anew for each shape: few shapes.
@FEW
@given(case=op_cases(LEGEND, B=2, T=3, I=2, O=3))
def test_a_function_of_jax(jax_affine, case):
    assert case.check(jax_affine.right) < 1e-7
    with pytest.raises(GradientError, match="respect to W is wrong"):
        case.check(jax_affine.wrong)


@FEW
@given(case=op_cases("V D, ids: B < V", V=3, D=2, B=4))
def test_a_function_of_jax_with_two_outputs_and_ids(jax_affine, case):
    assert case.check(jax_affine.separate) < 1e-7
