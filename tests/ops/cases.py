"""The case of an op as tests call it: its arguments in a dtype, and its upstream gradients."""

import inspect

import numpy as np
import pytest

from minillm import _kernels, ops, use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.testing.calls import as_tuple as tuple_of
from minillm.testing.calls import is_float

# Sizes small enough to check every coordinate, and T of at least 3: a
# recurrence that forgets a step passes at 1 and 2.
BOUNDS = {
    "B": (1, 2), "T": (3, 4), "S": (1, 4), "I": (1, 3), "O": (1, 4),
    "H": (1, 3), "D": (2, 5), "V": (2, 6), "N": (1, 2),
    "A": (1, 4), "J": (2, 4), "E": (1, 3), "M": (1, 2), "G": (1, 2), "K": (2, 4),
    "C": (1, 4), "F": (1, 4), "P": (1, 4),
}  # fmt: skip


def case_of(name, rng, dtype=np.float64, **sizes):
    """An op and its arguments, the floats among them of this dtype."""
    op, args = CASES[name](rng, **sizes)
    return op, [a.astype(dtype) if is_float(a) else a for a in args]


def upstream_of(outputs, rng):
    return [np.asarray(rng.standard_normal(y.shape)).astype(y.dtype) for y in tuple_of(outputs)]


def results(twin, op, args, upstream):
    """The outputs and the gradients on one twin."""
    with use_kernels(twin):
        outputs, backward = op(*args)
        return *tuple_of(outputs), *tuple_of(backward(*upstream))


def names_of(op):
    return list(inspect.signature(op).parameters)


def declared(name):
    """The declared arguments of a case's op."""
    op = getattr(ops, name)
    return op.declaration.arguments if hasattr(op, "declaration") else []


def calls_kernels(name):
    """Whether an op's case calls a function that may have a compiled twin."""
    called = []

    class Recorder:
        def __getattr__(self, twin):
            called.append(twin)
            raise AttributeError(twin)  # so that the original runs

    op, args = CASES[name](np.random.default_rng(0))
    token = _kernels._chosen.set(Recorder())
    try:
        outputs, backward = op(*args)
        backward(*upstream_of(outputs, np.random.default_rng(0)))
    except Exception:  # its own tests tell what is wrong
        return True
    finally:
        _kernels._chosen.reset(token)
    return called != []


TWINNED = [name for name in CASES if calls_kernels(name)]


def on_its_twins(names=CASES):
    """A mark that gives a test each op, on both twins if the op has them."""
    pairs = [("numpy", name) for name in names]
    pairs += [("cython", name) for name in names if name in TWINNED]
    return pytest.mark.parametrize(("kernels", "name"), pairs, indirect=["kernels"])
