"""What an op declares is what its docstring says, what it returns, and what its twins take."""

import inspect
import re

import numpy as np
import pytest

from minillm import _kernels, checks, ops
from minillm.ops import gradient_cases

DECLARED = {name: op.declaration for name, op in vars(ops).items() if hasattr(op, "declaration")}
SHAPE = re.compile(r"((?:\w+(?:,? and |, ))*\w+)(?: from 0)?(?: up)? \(([^()]*)\)")


def shapes_in(docstring):
    """The axes of each name: "h0 and c0 (B, H)" -> {"h0": "B H", "c0": "B H"}."""
    found = {}
    for names, axes in SHAPE.findall(" ".join(docstring.split())):
        text = re.sub(r"(\d) (?=[A-Z])", r"\1", axes.replace(" - ", "-"))
        for name in re.split(r",? and |, ", names):
            found.setdefault(name, set()).add(" ".join(re.split(r",\s*", text.strip(", "))))
    return found


@pytest.mark.parametrize("name", DECLARED)
def test_the_docstring_says_what_is_declared(name):
    declared, op = DECLARED[name], getattr(ops, name)
    docstring = inspect.getdoc(op) + inspect.getdoc(inspect.getmodule(op))
    found = shapes_in(docstring)
    assert [a.name for a in declared.arguments] == list(inspect.signature(op).parameters)
    for a in [*declared.arguments, *declared.outputs]:
        said = found.get(a.name, set()) | (found["ids"] if a.axes.keys() > {"i"} else set())
        if not declared.outputs and not said:
            continue  # the docstring of a step refers to the whole sequence's for the weights
        for axes in a.axes.values():
            if axes == "":
                assert f"{a.name}, a scalar" in " ".join(docstring.split())
            elif axes != "..." or "any shape" not in docstring:
                assert axes in said
        if a.axes and a.optional:
            assert "None" in docstring


@pytest.mark.parametrize("name", sorted(gradient_cases.CASES.keys() & DECLARED))
def test_outputs_have_the_declared_shapes(name):
    op, args = gradient_cases.CASES[name](np.random.default_rng(0))
    outputs, _ = op(*args)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sizes = {**gradient_cases.SIZES, "...": (gradient_cases.SIZES["B"], gradient_cases.SIZES["T"])}
    if name == "scaled_dot_product_attention":  # its case is drawn by hand
        sizes |= dict(zip("BNTDE", (*args[0].shape, args[2].shape[-1]), strict=True))
    for a, y in zip(DECLARED[name].outputs, outputs, strict=True):
        assert y.shape == checks.shape_of(a.axes["f"], sizes)


@pytest.mark.parametrize("name", DECLARED)
def test_twins_take_the_declared_arguments(name):
    declared = [a.name for a in DECLARED[name].arguments]
    for twin in (f"{name}_forward", name):
        original = _kernels.ORIGINALS.get(twin)
        if original is not None:
            taken = [p for p in inspect.signature(original).parameters if p in declared]
            assert taken == [a for a in declared if a in taken]


def test_a_number_is_an_axis_of_that_size():
    @checks.op("x: B 2 -> y: B 2")
    def double(x):
        return 2 * x, lambda dy: 2 * dy

    assert double(np.ones((3, 2)))[0].shape == (3, 2)
    with pytest.raises(
        ValueError, match=r"double: x: expected shape \(B = 3, 2 = 2\), found \(3, 4\)"
    ):
        double(np.ones((3, 4)))


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0, 2, 1)])
def test_leading_axes_are_one_for_the_op_and_many_for_its_caller(leading):
    seen = []

    @checks.op("x: ... 2D, gain: D, ids: ... < D -> y: ... D")
    def gated(x, gain, ids):
        def backward(dy):
            seen.append(dy.shape)
            return np.concatenate([dy, dy], axis=1) * x, gain

        seen.extend([x.shape, ids.shape])
        return x[:, :4] * gain, backward

    y, backward = gated(np.ones((*leading, 8)), np.ones(4), np.zeros(leading, int))
    dx, dgain = backward(np.ones((*leading, 4)))
    N = int(np.prod(leading))
    assert seen == [(N, 8), (N,), (N, 4)]
    assert (y.shape, dx.shape, dgain.shape) == ((*leading, 4), (*leading, 8), (4,))
