"""The case of an op as tests call it: its arguments in a dtype, and its upstream gradients."""

import inspect

import numpy as np

from minillm import ops, use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.testing.calls import as_tuple as tuple_of
from minillm.testing.calls import is_float

# Sizes small enough to check every coordinate, and T of at least 3: a
# recurrence that forgets a step passes at 1 and 2.
BOUNDS = {
    "B": (1, 3), "T": (3, 5), "S": (1, 4), "I": (1, 3), "O": (1, 4),
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
