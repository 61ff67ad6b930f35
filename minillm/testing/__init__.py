"""Gradient checks for any function that returns its output and its backward.

``check_gradients`` checks one op at every coordinate, ``check_projections`` a
whole model along random directions.  ``minillm.testing.strategies`` (needs
hypothesis) draws shapes, lengths and arrays for property tests.
"""

from minillm.testing.gradients import GradientError, check_gradients, check_projections

__all__ = ["GradientError", "check_gradients", "check_projections"]
