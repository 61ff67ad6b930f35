"""Gradient checks for any function that returns its output and its backward.

``check_gradients`` checks one op at every coordinate, ``check_projections`` a
whole model along random directions.  ``arrays`` draws arguments of given shapes, and
``as_op`` makes an op of a pair of functions, of a class, or of a function of PyTorch or JAX.

On request: ``check_layouts`` gives the op arrays that are strided, read-only, broadcast or
empty, and ``check_float32`` compares float32 with float64.  ``check_symmetry`` checks second
derivatives, for which it needs the backward alone, and ``check_hvp`` a Hessian-vector product.

``minillm.testing.strategies`` (needs hypothesis) draws cases, sizes and lengths for property
tests, and ``minillm.pytest_plugin`` has the fixture ``gradcheck``.
"""

from minillm.testing.adapters import as_op
from minillm.testing.calls import GradientError
from minillm.testing.gradients import check_gradients
from minillm.testing.legends import arrays
from minillm.testing.precision import check_float32
from minillm.testing.projections import check_projections
from minillm.testing.second_order import check_hvp, check_symmetry
from minillm.testing.variants import check_layouts

__all__ = [
    "GradientError",
    "arrays",
    "as_op",
    "check_float32",
    "check_gradients",
    "check_hvp",
    "check_layouts",
    "check_projections",
    "check_symmetry",
]
