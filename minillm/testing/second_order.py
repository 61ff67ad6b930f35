"""Checks of second derivatives, which are differences of gradients.

For a fixed upstream gradient w, the backward returns the gradient g(x) of one number, L = sum of
w y(x).  The derivative of g is the matrix of second derivatives of L, the Hessian H.  Along a
direction v,

    H v = (g(x + h v) - g(x - h v)) / 2h + O(h^2)

with the same two steps as in ``slopes.py``, whose errors of order h^2 cancel.

**Symmetry.**  The order of two derivatives does not matter (Schwarz 1873), so that H is
symmetric, and for any two directions u and v

    u (H v) = v (H u) .

Both sides are differences of the backward alone.  The forward is not measured at all, and so the
check also serves where no forward exists, such as for a field of forces that should have a
potential.  Conversely, if H is symmetric at all points, g is the gradient of some L.

**What it cannot see.**  That L need not be the one of the forward.  A gradient that is wrong by
the same constant factor for all arguments is one of c L.  If y_i depends on x_i alone, H is
diagonal whatever the backward claims.  The gradient of a linear op does not depend on x, and 0 is
symmetric.  An output whose upstream gradient is ignored is missing in L.  The check sees a wrong
factor in one gradient of several, a wrong axis or gate, a missing term or sum, where they spoil
the mixed second derivatives.  Second derivatives that are nothing but rounding, such as 1e-12 of
the terms of a gradient, count as zero.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.testing.calls import GradientError, as_tuple, copies, flat, largest, normals_like
from minillm.testing.gradients import claimed_gradients
from minillm.testing.point import Point
from minillm.testing.slopes import (
    Slope,
    check_options,
    line_along,
    relative_error,
    settled,
    steps_at,
)


def check_symmetry(
    op: Callable[..., tuple[Any, Callable]],
    *args: Any,
    rng: np.random.Generator,
    tolerance: float = 1e-6,
) -> float:
    """Check that the backward's own derivative is symmetric, as second derivatives are.

    The op and its arguments are as for ``check_gradients``.  For each pair of float arrays a and b,
    with random directions u and v of length 1,

        u (ga(b + h v) - ga(b - h v)) / 2h  =  v (gb(a + h u) - gb(a - h u)) / 2h

    where ga is the gradient with respect to a (the top of this page derives it).  It needs no
    numeric derivative of the forward.  It cannot see an error that leaves the derivative symmetric,
    such as a factor that all gradients have in common, or any error of an activation function.
    So it complements ``check_gradients``, and does not replace it.

    Returns the worst relative error.  Raises GradientError that names the two arguments.
    """
    check_options(tolerance)
    fields = _Fields(op, args, rng)
    worst = 0.0
    for i, a in enumerate(fields.names):
        for j, b in enumerate(fields.names[: i + 1]):
            # One array has two directions, of which the second one is measured along the first.
            u, v = fields.directions[i][0], fields.directions[j][1]
            one = fields.slope(of=i, weights=u, along=j, direction=v, tolerance=tolerance)
            other = fields.slope(of=j, weights=v, along=i, direction=u, tolerance=tolerance)
            allowance = one.rounding + other.rounding
            error = relative_error(one.numeric, other.numeric, allowance, tolerance)
            if not error <= tolerance:
                raise GradientError(
                    f"the second derivatives with respect to {a} and {b} are not symmetric: the "
                    f"gradient of {a} changes along {b} by {one.numeric:.10g}, the gradient of {b} "
                    f"along {a} by {other.numeric:.10g} (tolerance {tolerance:g})"
                )
            worst = max(worst, error)
    return worst


def check_hvp(
    op: Callable[..., tuple[Any, Callable]],
    hvp: Callable[[tuple, tuple, tuple], Any],
    *args: Any,
    rng: np.random.Generator,
    tolerance: float = 1e-6,
) -> float:
    """Check a Hessian-vector product against differences of the backward.

    ``hvp(args, upstream, tangents)`` returns H v for each float array, in their order: the
    derivative of the backward's gradients if the arguments move by the tangents and the upstream
    gradients stay.  ``upstream`` has an array for each output, and ``tangents`` one for each
    float array, and None for any other argument.  Each argument is moved alone, and each H v is
    compared by a random projection.

    Returns the worst relative error.  Raises GradientError that names the gradient and the
    argument that moved.  ``check_gradients`` checks the backward itself.
    """
    check_options(tolerance)
    fields = _Fields(op, args, rng)
    worst = 0.0
    for j, b in enumerate(fields.names):
        v = fields.directions[j][1]
        products = fields.products(hvp, j, v)
        for i, a in enumerate(fields.names):
            u = fields.directions[i][0]
            claim = float(np.sum(u * products[i]))
            slope = fields.slope(of=i, weights=u, along=j, direction=v, tolerance=tolerance)
            error = relative_error(claim, slope.numeric, slope.rounding, tolerance)
            if not error <= tolerance:
                raise GradientError(
                    f"along {b}, the Hessian-vector product of {a} is {claim:.10g}, and the "
                    f"backward's gradients differ by {slope.numeric:.10g} (tolerance {tolerance:g})"
                )
            worst = max(worst, error)
    return worst


class _Fields:
    """The gradients of an op as functions of its arguments, for one random upstream gradient."""

    def __init__(self, op: Callable, args: Sequence[Any], rng: np.random.Generator) -> None:
        self.point = point = Point(op, args, rng)
        self.checked = point.checked
        self.names = [point.names[k] for k in self.checked]
        self.gradients = claimed_gradients(point, point.gradients(point.upstream))
        arrays = [point.args[k] for k in self.checked]
        drawn = zip(normals_like(arrays, rng), normals_like(arrays, rng), strict=True)
        self.directions = [tuple(map(_unit, pair)) for pair in drawn]
        # A gradient may be a small difference of terms as large as dy y, as in a softmax.
        dy, y = flat(point.upstream), flat(point.outputs)
        self.terms = largest(dy) * min(largest(y), 1.0)

    def slope(
        self, of: int, weights: NDArray, along: int, direction: NDArray, tolerance: float
    ) -> Slope:
        """The change of one gradient, times the weights, per distance along a direction."""
        array = self.point.args[self.checked[along]]
        if not array.size or not self.gradients[of].size:
            return Slope(0.0, 0.0, 0.0)
        length = float(np.linalg.norm(np.where(np.isfinite(array), array, 0)))
        sizes = np.maximum(np.abs(flat([self.gradients[of]])), self.terms)
        line = line_along(array, direction, lambda: self._gradient(of), flat([weights]), sizes)
        found = settled(line, steps_at(length, 1.0), tolerance)
        if found is None:
            raise GradientError(
                f"the gradient with respect to {self.names[of]} has no slope along "
                f"{self.names[along]} at this point: no two steps agree (does it lie on a kink?)"
            )
        return found

    def _gradient(self, of: int) -> NDArray:
        point = self.point
        backward = point.op(*copies(point.args))[1]
        return flat([as_tuple(backward(*copies(point.upstream)))[of]])

    def products(self, hvp: Callable, along: int, direction: NDArray) -> list[NDArray]:
        """H v for each float array, of a caller's function.  GradientError for other shapes."""
        point = self.point
        tangents = [
            np.zeros_like(a) if k in self.checked else None for k, a in enumerate(point.args)
        ]
        tangents[self.checked[along]] = direction.copy()
        given = tuple(copies(point.args)), tuple(copies(point.upstream)), tuple(tangents)
        products = [np.asarray(product) for product in as_tuple(hvp(*given))]
        shapes = [point.args[k].shape for k in self.checked]
        if [product.shape for product in products] != shapes:
            raise GradientError(
                f"the Hessian-vector product: expected arrays of shapes {shapes}, "
                f"found {[product.shape for product in products]}"
            )
        return products


def _unit(direction: NDArray) -> NDArray:
    return np.asarray(direction / (np.linalg.norm(direction) or 1.0))
