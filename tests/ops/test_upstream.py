"""A wrong upstream gradient is refused in one line, before any kernel reads it."""

import numpy as np
import pytest

from minillm import ops, use_kernels
from minillm.ops.gradient_cases import CASES

from .test_properties import case_of, tuple_of, upstream_of


def wrong_shapes(dy):
    yield np.zeros((*dy.shape, 1), dy.dtype)
    yield np.zeros((1, *dy.shape), dy.dtype)
    for axis, size in enumerate(dy.shape):
        yield np.delete(dy, 0, axis)  # too small
        yield np.concatenate([dy, dy], axis)
        if size > 1:
            yield np.delete(dy, range(size - 1), axis)  # as if it were to be broadcast
    if dy.ndim > 1:
        yield dy.ravel()
        if dy.T.shape != dy.shape:
            yield dy.T.copy()  # as many numbers


def wrong_types(dy):
    other = np.float64 if dy.dtype == np.float32 else np.float32
    for dtype in (other, np.float16, np.int64, object, dy.dtype.newbyteorder()):
        yield dy.astype(dtype)
    yield dy.tolist() if dy.ndim else "1"
    yield np.ma.masked_array(dy, dy > 0)
    if dy.ndim == 2:
        yield dy.view(np.matrix)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wrong_upstream_gradient_is_refused(name, kernels, dtype):
    rng = np.random.default_rng(0)
    op, args = case_of(name, rng, dtype)
    with use_kernels(kernels):
        outputs, backward = op(*args)
        upstream = upstream_of(outputs, rng)
        expected = tuple_of(backward(*upstream))
        for k, dy in enumerate(upstream):

            def call(wrong, k=k):
                backward(*upstream[:k], wrong, *upstream[k + 1 :])

            for wrong in wrong_shapes(dy):
                with pytest.raises(ValueError, match=f"{name}: d[A-Za-z_]+: expected shape "):
                    call(wrong)
            for wrong in wrong_types(dy):
                with pytest.raises(TypeError, match=f"{name}: d[A-Za-z_]+: expected "):
                    call(wrong)
        for few_or_many in ((), (*upstream, upstream[0])):
            if few_or_many or upstream[0].ndim:  # the gradient of a loss is 1
                with pytest.raises(TypeError):
                    backward(*few_or_many)
        if len(upstream) == 1:
            with pytest.raises(TypeError, match=f"{name}: d[A-Za-z_]+: expected .*found NoneType"):
                backward(None)
        for one, other in zip(tuple_of(backward(*upstream)), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
def test_a_shape_that_the_caller_sets_changes_nothing_here(kernels):
    """An array's shape can be set in place; the op keeps its own views of the memory."""
    rng = np.random.default_rng(0)
    for name in ("tanh", "linear", "lstm", "layer_norm", "additive_attention"):
        op, args = case_of(name, rng)
        with use_kernels(kernels):
            outputs, backward = op(*args)
            upstream = upstream_of(outputs, rng)
            expected = backward(*upstream)
            for array in (*args, *tuple_of(outputs)):
                if isinstance(array, np.ndarray):
                    set_shape(array, array.shape[::-1])
            for one, other in zip(tuple_of(backward(*upstream)), tuple_of(expected), strict=True):
                np.testing.assert_array_equal(one, other)


def set_shape(array, shape):
    array.shape = shape


def test_the_gradient_of_a_loss_may_be_a_python_number(kernels):
    logits, targets = np.zeros((2, 3), np.float32), np.array([0, 1])
    with use_kernels(kernels):
        _, backward = ops.cross_entropy(logits, targets)
        for two in (2, 2.0, np.float32(2), np.array(2, np.float32)):
            dlogits = backward(two)
            assert dlogits.dtype == np.float32
            np.testing.assert_array_equal(dlogits, 2 * backward())
        with pytest.raises(
            TypeError, match="cross_entropy: dloss: expected float32, found float64"
        ):
            backward(np.float64(2))
