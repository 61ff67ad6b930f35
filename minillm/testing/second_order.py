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
    kinks: str = "refuse",
) -> float:
    """Check that the backward's own derivative is symmetric, as second derivatives are.

    The op and its arguments are as for ``check_gradients``.  For each pair of float arrays a and b,
    with random directions u and v of length 1,

        u (ga(b + h v) - ga(b - h v)) / 2h  =  v (gb(a + h u) - gb(a - h u)) / 2h

    where ga is the gradient with respect to a (the top of this page derives it).  It needs no
    numeric derivative of the forward.  It cannot see an error that leaves the derivative symmetric,
    such as a factor that all gradients have in common, or any error of an activation function.
    So it complements ``check_gradients``, and does not replace it.

    At a kink, such as ReLU at 0, the gradient jumps, and has no slope: an error by default.  With
    ``kinks="between"``, coordinates that lie on one stay where they are, and the rest is checked.

    Returns the worst relative error.  Raises GradientError that names the two arguments.
    """
    check_options(tolerance, kinks=kinks)
    point = Point(op, args, rng, kinks=kinks)
    gradients = claimed_gradients(point, point.gradients(point.upstream))
    arrays = [point.args[k] for k in point.checked]
    names = [point.names[k] for k in point.checked]
    # Each array has two directions, u and v: one measures its own gradient, one moves it.
    us, vs = ([d / (np.linalg.norm(d) or 1.0) for d in normals_like(arrays, rng)] for _ in "uv")
    if kinks == "between":
        for k, u, v in zip(point.checked, us, vs, strict=True):
            stays = point.on_kinks(k)
            u[stays] = v[stays] = 0
    worst = 0.0
    for i, a in enumerate(names):
        for j, b in enumerate(names[: i + 1]):
            one = _change(point, gradients, i, us[i], j, vs[j], tolerance)
            other = _change(point, gradients, j, vs[j], i, us[i], tolerance)
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
    argument that moved, for a product of another shape, and for one that changes what it is given.
    """
    check_options(tolerance)
    point = Point(op, args, rng)
    gradients = claimed_gradients(point, point.gradients(point.upstream))
    arrays = [point.args[k] for k in point.checked]
    names = [point.names[k] for k in point.checked]
    us, vs = ([d / (np.linalg.norm(d) or 1.0) for d in normals_like(arrays, rng)] for _ in "uv")
    worst = 0.0
    for j, b in enumerate(names):
        tangents: list[Any] = [None] * len(point.args)
        for k, array in zip(point.checked, arrays, strict=True):
            tangents[k] = vs[j] if array is arrays[j] else np.zeros_like(array)
        kept = point.args, point.upstream, tangents
        given = tuple(tuple(copies(values)) for values in kept)
        products = [np.asarray(product) for product in as_tuple(hvp(*given))]
        if [product.shape for product in products] != [array.shape for array in arrays]:
            raise GradientError(
                f"the Hessian-vector product: expected arrays of shapes "
                f"{[array.shape for array in arrays]}, found {[p.shape for p in products]}"
            )
        for before, after, what in zip(kept, given, ("args", "upstream", "tangents"), strict=True):
            if not all(map(np.array_equal, before, after)):
                raise GradientError(f"the Hessian-vector product changed its {what}")
        for i, a in enumerate(names):
            claim = float(np.sum(us[i] * products[i]))
            slope = _change(point, gradients, i, us[i], j, vs[j], tolerance)
            error = relative_error(claim, slope.numeric, slope.rounding, tolerance)
            if not error <= tolerance:
                raise GradientError(
                    f"along {b}, the Hessian-vector product of {a} is {claim:.10g}, and the "
                    f"backward's gradients differ by {slope.numeric:.10g} (tolerance {tolerance:g})"
                )
            worst = max(worst, error)
    return worst


def _change(
    point: Point,
    gradients: Sequence[NDArray],
    of: int,
    weights: NDArray,
    along: int,
    direction: NDArray,
    tolerance: float,
) -> Slope:
    """The change of one gradient, times the weights, per distance along a direction."""
    array = point.args[point.checked[along]]
    if not array.size or not gradients[of].size:
        return Slope(0.0, 0.0, 0.0)

    def gradient_now() -> NDArray:
        backward = point.op(*copies(point.args))[1]
        return flat([as_tuple(backward(*copies(point.upstream)))[of]])

    # A gradient may be a small difference of terms as large as dy y, as in a softmax.
    terms = largest(flat(point.upstream)) * min(largest(flat(point.outputs)), 1.0)
    sizes = np.maximum(np.abs(flat([gradients[of]])), terms)
    line = line_along(array, np.asarray(direction), gradient_now, flat([weights]), sizes)
    length = float(np.linalg.norm(np.where(np.isfinite(array), array, 0)))
    found = settled(line, steps_at(length, 1.0), tolerance)
    if found is None:
        name, by = point.names[point.checked[of]], point.names[point.checked[along]]
        raise GradientError(
            f"the gradient with respect to {name} has no slope along {by} at this point: no two "
            "steps agree (does it lie on a kink?)"
        )
    return found
