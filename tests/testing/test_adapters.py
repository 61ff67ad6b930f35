"""Ops made of classes, of pairs of functions, and of the functions of PyTorch and JAX."""

import inspect

import numpy as np
import pytest
from hypothesis import given

from minillm.errors import InputError
from minillm.testing import GradientError, arrays, as_op
from minillm.testing.strategies import given_op_cases, op_cases

from .faulty import linear, off, refusal

LEGEND = "B I, I O, O"


def gradients_of(x, W, dy, factor=1.0):
    return dy @ W.T, factor * x.T @ dy, dy.sum(axis=0)


class Affine:
    """Everything comes in through forward, and the object keeps what backward needs."""

    factor = 1.0

    def forward(self, x, W, b):
        self.x, self.W = x, W
        return x @ W + b

    def backward(self, dy):
        return gradients_of(self.x, self.W, dy, self.factor)


class Layer:
    """The weights are given to the constructor, and their gradients are added up."""

    factor = 1.0

    def __init__(self, W, b):
        self.W, self.b = W, b
        self.dW, self.db = np.zeros_like(W), np.zeros_like(b)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy):
        dx, dW, db = gradients_of(self.x, self.W, dy, self.factor)
        self.dW += dW
        self.db += db
        return dx


def things(factor):
    """The same op in each form, with a gradient of W that is wrong by a factor."""
    wrong_affine = type("WrongAffine", (Affine,), {"factor": factor})
    return {
        "function": off(linear, factor, 1),
        "pair with a cache": (
            lambda x, W, b: (x @ W + b, (x, W)),
            lambda dy, cache: gradients_of(*cache, dy, factor),
        ),
        "pair with the arguments": (
            lambda x, W, b: x @ W + b,
            lambda dy, x, W, b: gradients_of(x, W, dy, factor),
        ),
        "class": wrong_affine,
        "object": wrong_affine(),
        "class with weights": type("WrongLayer", (Layer,), {"factor": factor}),
    }


@pytest.mark.parametrize("name", things(1.0))
def test_right_gradients_pass_and_wrong_ones_are_named(name):
    for seed in range(3):
        case = arrays(LEGEND, seed=seed)
        assert case.check(things(1.0)[name]) < 1e-7
        with pytest.raises(GradientError, match="gradient with respect to W is wrong"):
            case.check(things(1.001)[name])


@pytest.mark.parametrize("thing", [Affine, Affine()], ids=["class", "object"])
def test_a_backward_belongs_to_its_own_call(thing):
    op, (x, W, b) = as_op(thing), arrays(LEGEND)
    y, backward = op(x, W, b)
    before = backward(y)
    op(2 * x, W, b)
    for one, other in zip(before, backward(y), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", sorted(things(1.0).keys() - {"function"}))
def test_the_backward_has_the_names_and_the_source_of_its_author(name):
    _y, backward = as_op(things(1.0)[name])(*arrays(LEGEND))
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


# --- several outputs, and an op that draws ------------------------------------------------


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


@given(case=op_cases("B D"))
def test_an_op_with_an_rng_draws_the_same_at_each_call(case):
    def dropout(x, rng):
        kept = rng.random(x.shape) < 0.5
        return x * kept, lambda dy: dy * kept

    assert case.check(dropout) < 1e-7


def test_a_function_is_returned_as_it_is_and_an_optional_rng_left_out():
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
    class Forgetful(Layer):
        def backward(self, dy):
            del self.dW
            return dy @ self.W.T

    _y, backward = as_op(Forgetful)(*arrays(LEGEND, B=2, O=3))
    with pytest.raises(InputError, match=r"Forgetful: expected the gradient of W, .* attribute dW"):
        backward(np.ones((2, 3)))


# --- other libraries --------------------------------------------------------------------


def torch_functions(factor=1.0):
    """An affine function, and one of the newer form: two outputs, an argument without floats."""
    torch = pytest.importorskip("torch")

    class TorchAffine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, W, b):
            ctx.save_for_backward(x, W)
            return x @ W + b

        @staticmethod
        def backward(ctx, dy):
            x, W = ctx.saved_tensors
            return dy @ W.T, factor * x.T @ dy, dy.sum(0)

    class Separate(torch.autograd.Function):
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

    return TorchAffine, Separate


def jax_functions(factor=1.0):
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def jax_affine(x, W, b):
        return x @ W + b

    def backward(kept, dy):
        x, W = kept
        return dy @ W.T, factor * x.T @ dy, dy.sum(axis=0)

    jax_affine.defvjp(lambda x, W, b: (x @ W + b, (x, W)), backward)

    @jax.custom_vjp
    def separate(x, ids):
        return jax.numpy.sin(x[ids]), jax.numpy.cos(x)

    def separate_backward(kept, dys):
        x, ids = kept
        dx = jax.numpy.zeros_like(x).at[ids].add(dys[0] * jax.numpy.cos(x[ids]))
        return dx - dys[1] * jax.numpy.sin(x), None

    separate.defvjp(lambda x, ids: (separate(x, ids), (x, ids)), separate_backward)
    return jax_affine, separate


@pytest.mark.parametrize("functions", [torch_functions, jax_functions])
def test_functions_of_other_libraries(functions):
    case = arrays(LEGEND, B=3, I=2, O=3)  # JAX compiles each operation anew for each shape
    right, separate = functions()
    assert case.check(right, dtype="float16") < 1e-7
    assert "respect to W is wrong" in refusal(as_op(functions(1.001)[0]), *case)
    for seed in range(2):
        assert arrays("V D, ids: B < V", V=3, D=2, B=4, seed=seed).check(separate) < 1e-7


def test_the_backward_of_torch_has_its_authors_names():
    wrong, separate = torch_functions(1.001)
    _y, backward = as_op(separate)(*arrays("V D, ids: B < V"))
    assert list(inspect.signature(backward).parameters) == ["dsin", "dcos"]
    assert inspect.unwrap(backward).__code__.co_filename == __file__
    with pytest.raises(GradientError, match=r"(?s)respect to W is wrong.*as_op\(TorchAffine\)"):
        arrays(LEGEND).check(wrong)
