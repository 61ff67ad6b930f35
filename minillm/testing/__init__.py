"""Gradient checks for any function that returns its output and its backward.

``check_gradients`` checks one op at every coordinate, ``check_projections`` a
whole model along random directions.  On request: ``check_layouts`` gives the op arrays
that are strided, read-only, broadcast or empty, ``check_float32`` compares float32
with float64, ``check_jvp`` a Jacobian-vector product with the backward.
``minillm.testing.strategies`` (needs hypothesis) draws shapes, lengths and arrays for
property tests.
"""

from minillm.testing.calls import GradientError
from minillm.testing.gradients import check_gradients
from minillm.testing.projections import check_projections
from minillm.testing.variants import check_float32, check_jvp, check_layouts

__all__ = [
    "GradientError",
    "check_float32",
    "check_gradients",
    "check_jvp",
    "check_layouts",
    "check_projections",
]
