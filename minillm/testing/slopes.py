"""The slope of a scalar along a line: how it is measured, and compared with a claimed one.

The slope is measured by central differences with two steps, h and h / 2.  Their
errors are multiples of h^2, which cancel in a combination (Richardson 1911):

    D(h) = (L(x + h u) - L(x - h u)) / 2h        slope = (4 D(h / 2) - D(h)) / 3

The remaining error is of order h^4, plus rounding of about 1e-13 in float64.

**Which step.**  A wide step has little rounding, and a narrow one stays clear of kinks and
poles.  The widest is 2e-3 of max(1, |x_i|), and usually decides.  If its slope differs
from the backward's, narrower steps follow, down to a small part of |x_i| itself.  They end
when a slope agrees with the backward, or when two agree with each other: then the slope is
known, and the backward is wrong.

**The allowance for rounding.**  All errors are relative: a gradient of 1e-7 that should be
2e-7 is an error, although an "absolute or relative" tolerance of 1e-6 would accept it.
The only absolute error allowed is the rounding of the measured slope.  It is bounded from
the sizes of the outputs that moved.  Others do not count, however large: neither a logit that
is masked by -1e9 nor the square of another number may mask an error elsewhere.  Moreover,
the allowance is at most a thousandth of the slope itself or, at the widest step, of the
largest slope by the same argument.  An error of 1 % of that largest slope is therefore found,
unless it is below 1e-12 of the outputs.  Where the bound is above this limit and the two
slopes differ by less than the bound, the verdict is "cannot be decided", which is an error too.

**Slopes near the last bits.**  The sizes of the outputs say too little in two cases.  An
output may be small because larger terms cancel in it, such as (1 + tanh(x / 2)) / 2 at
x = -30: its rounding is due to the terms, of size 1 or of another output.  And all slopes by
an argument may be near the last bits of the outputs, as in a saturated softmax: no
step measures them to a thousandth.  If such rounding could explain the difference, it is
measured: by how far the outputs are from a smooth curve, near the last bits at the widest
usable step alone, and for terms as large as another output at any step.  (More and
Wild 2011 estimate it from differences of high order.)  It does not depend on the backward.
A difference within it is accepted, up to a thousandth of the largest slope or 1e-12 of
the outputs.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Relative to x.  Were the ratio a whole number, both steps could hold whole periods of a sine.
STEPS = tuple(2e-3 * 7.3**-k for k in range(7))
EPSILON, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
ROUNDING = 16 * EPSILON  # of an output that changed, relative to the largest one
SHARE = 1e-3  # the largest allowance for rounding, as a part of a slope
VANISHING = 1e-13  # as a part of the outputs: a slope that no step can tell from zero

ACCEPTED, UNDECIDED, WRONG = range(3)


class Line(NamedTuple):
    """The scalar L = sum of dy y on a line through x."""

    move: Callable[[float], tuple[float, NDArray]]  # distance -> x as rounded, outputs y there
    dy: NDArray
    sizes: NDArray  # of the outputs, for bounds on their rounding


def line_along(
    array: NDArray, direction: NDArray, outputs: Callable[[], NDArray], dy: NDArray, sizes: NDArray
) -> Line:
    """The line of an array that is moved in place, and restored after each call and any error."""
    start = array.copy()

    def move(distance: float) -> tuple[float, NDArray]:
        try:
            array[...] = start + distance * direction
            return distance, outputs()
        finally:
            array[...] = start

    return Line(move, dy, sizes)


class Slope(NamedTuple):
    """A slope, claimed and measured, and how they compare."""

    analytic: float
    numeric: float
    rounding: float  # a bound on the rounding of the numeric one
    error: float = 0.0  # at most the tolerance iff accepted
    allowed: float = 0.0  # the largest difference that is accepted
    verdict: int = ACCEPTED

    def describe(self, where: str, tolerance: float) -> str:
        """Say what is wrong."""
        claims = f"{where}: analytic {self.analytic:.10g}, numeric {self.numeric:.10g}"
        if self.verdict == UNDECIDED:
            return (
                f"cannot be decided{claims}, but the rounding of the outputs hides "
                f"differences up to {self.rounding:.3g} (are some outputs very large?)"
            )
        gap = abs(self.analytic - self.numeric) / max(abs(self.analytic), abs(self.numeric))
        return f"is wrong{claims}, relative error {gap:.3g} (tolerance {tolerance:g})"


def check_options(tolerance: float, step: float | None = None, kinks: str = "refuse") -> None:
    """Raise ValueError for a tolerance that accepts anything, no step, and an unknown word."""
    if not 0 < tolerance < 1:  # 1 would accept a gradient of zeros
        raise ValueError(f"tolerance: expected a number above 0 and below 1, found {tolerance}")
    if step is not None and not 0 < step < np.inf:
        raise ValueError(f"step: expected a finite number above 0, found {step}")
    if kinks not in ("refuse", "between"):
        raise ValueError(f'kinks: expected "refuse" or "between", found {kinks!r}')


@np.errstate(all="ignore")
def output_sizes(
    array: NDArray, widest: NDArray | float, outputs_now: Callable[[], NDArray]
) -> NDArray:
    """The sizes of the outputs that the array changes.  Of a constant, at most 1 counts.

    Nothing tells a constant from an output that changes by less than its last bit: a weight of
    1 in a softmax does, a logit masked by -1e15 does not.
    """
    here, centre = outputs_now(), array.copy()
    array += widest * np.random.default_rng(0).uniform(-1, 1, array.shape)
    changed = outputs_now() != here
    array[...] = centre
    sizes = np.where(np.isfinite(here), np.abs(here), 0)
    return np.where(changed, sizes, np.minimum(sizes, 1))


def scales(
    largest: Sequence[float], relative: Sequence[float], dy: NDArray, outputs: NDArray
) -> tuple[list[float], float]:
    """The size of a slope by each argument, from the largest one that is claimed.

    An argument whose gradient is nothing but rounding has no scale of its own, and takes that
    of the op.  Such is the bias of an attention's keys, and a softmax with a weight of 1.
    ``relative`` tells: the largest slope if x changes in proportion to its size.  The gradient of
    x / |x| along x is zero, but the rounding of its terms is divided by |x|.

    Also returns the allowance for rounding, the same for each argument.  No output counts as more
    than 1 here, because a huge one must not mask the others.
    """
    output = float(np.abs(dy) @ np.minimum(np.abs(outputs), 1))
    top = max([*largest, output])
    zero = max(4 * ROUNDING * top, VANISHING * output)
    pairs = zip(largest, relative, strict=True)
    return [size if part > zero else top for size, part in pairs], 10 * VANISHING * output


def steps_at(x: float, mean: float) -> list[float]:
    """The distances to try at x, from the widest to the narrowest; x = 0 takes its array's mean."""
    wide = [step * max(1.0, abs(x)) for step in STEPS]
    near = [step * (abs(x) or mean) for step in STEPS]
    return wide + [step for step in near if step < wide[-1]]


def compare(
    line: Line,
    analytic: float,
    steps: list[float],
    limit: float,
    floor: float,
    tolerance: float,
) -> Slope:
    """Compare a claimed slope with measured ones, the widest step first.

    A claim of NaN is never accepted, so that the slope is measured until two steps agree.
    """
    attempts: list[Slope] = []
    agreed = False
    for step in steps:
        numeric, rounding, widest = difference(line, step)
        gap, size = abs(analytic - numeric), max(abs(analytic), abs(numeric))
        share = max(SHARE * size, min(floor, limit))
        allowance, most = min(rounding, max(share, limit)), min(widest, share)
        if not any(np.isfinite(slope.numeric) for slope in attempts):  # the widest usable step
            terms_of_1 = 3 * ROUNDING * float(np.abs(line.dy).sum()) / step
            most = max(most, min(max(rounding, terms_of_1), max(limit, floor)))
        if tolerance * size + allowance < gap <= tolerance * size + most:
            allowance = max(allowance, min(noise(line, step), most))
        error = relative_error(analytic, numeric, allowance, tolerance)
        # A NaN or an infinity on either side is an error, never a pass.
        error = error if np.isfinite(error) else float("inf")
        attempts.append(Slope(analytic, numeric, rounding, error, tolerance * size + allowance))
        if error <= tolerance:
            return attempts[-1]
        if len(attempts) > 1 and _agree(attempts[-2], attempts[-1], tolerance):
            agreed = True
            break
    claim = Slope(analytic, analytic, rounding=0.0)
    measured = [slope for slope in attempts if np.isfinite(slope.numeric)]
    if measured and all(_agree(claim, slope, tolerance) for slope in measured):
        return min(attempts, key=lambda slope: slope.error)._replace(verdict=UNDECIDED)
    best = attempts[-1] if agreed else min(attempts, key=lambda slope: slope.error)
    return best._replace(verdict=WRONG)


def relative_error(one: float, other: float, allowance: float, tolerance: float) -> float:
    """The difference relative to the larger number.

    It is at most the tolerance if the difference is at most the tolerance times the larger number
    plus the allowance.
    """
    gap, size = abs(one - other), max(abs(one), abs(other))
    return gap / (size + allowance / tolerance) if size > 0 else gap


def _agree(one: Slope, other: Slope, tolerance: float) -> bool:
    """Whether two numeric slopes are the same, within the tolerance and all their rounding."""
    size = max(abs(one.numeric), abs(other.numeric))
    bound = tolerance * size + one.rounding + other.rounding
    return bool(abs(one.numeric - other.numeric) <= bound < np.inf)


@np.errstate(all="ignore")  # a wide step may leave the domain: log(-1) is NaN, a narrower follows
def difference(line: Line, h: float) -> tuple[float, float, float]:
    """(4 D(h / 2) - D(h)) / 3, and two bounds on its rounding error.

    An output may be a difference of terms as large as another output.  The first bound takes
    the largest output that has changed as the size of all terms, the second the largest of all.
    """
    slopes, rounding, widest = [], 0.0, 0.0
    weights = np.abs(line.dy)
    for half_width in (h, h / 2):
        (right, above), (left, below) = line.move(half_width), line.move(-half_width)
        width = right - left  # the real distance, after rounding
        if np.isnan(width):  # nothing moves an infinity or a NaN
            return 0.0, 0.0, 0.0
        if width == 0:
            return float("nan"), 0.0, 0.0
        # Difference first, sum after: outputs that do not depend on this coordinate then
        # cancel exactly, infinities too, and add little rounding: less than their last bit.
        changed = above != below
        gap = np.subtract(above, below, out=np.zeros_like(weights), where=changed)
        slopes.append(float(line.dy @ gap) / width)
        own = float(np.max(np.abs(above), initial=TINY, where=changed))
        largest = max(own, float(np.max(line.sizes, initial=0)))
        own = own if changed.any() else largest  # all of them may stand still by rounding
        moved, still = float(weights @ changed), np.where(changed, 0, weights)
        own_sizes = np.minimum(line.sizes, max(own, 1))
        rounding += (ROUNDING * own * moved + EPSILON * (still @ own_sizes)) / width
        widest += (ROUNDING * largest * moved + EPSILON * (still @ line.sizes)) / width
    return (4 * slopes[1] - slopes[0]) / 3, rounding, widest


def settled(line: Line, steps: Sequence[float], tolerance: float) -> Slope | None:
    """The first measured slope with which a narrower step agrees, or None if there is none.

    They agree to a tenth of the tolerance, because two such slopes are compared, up to the rounding
    of both.  All terms of an output may be as large as the largest of ``line.sizes``.
    """
    before: Slope | None = None
    for step in steps:
        numeric, _, rounding = difference(line, step)
        slope = Slope(numeric, numeric, rounding)
        if before and _agree(before, slope, tolerance / 10):
            return before._replace(rounding=before.rounding + rounding)
        before = slope
    return None


@np.errstate(all="ignore")
def noise(line: Line, h: float) -> float:
    """A bound on the rounding error of ``difference``, measured on the outputs.

    A smooth output is nearly a polynomial of degree 5 between -h and h.  After a fit at twelve
    places, what remains is rounding.  The places are irregular, because at regular ones the
    rounding may follow a polynomial, too.  Returns 0 if an output leaves its domain.
    """
    here, places = line.move(0.0)[1], np.cos(np.arange(12))
    outputs = np.array([line.move(h * place)[1] for place in places])
    changes = np.where(outputs == here, 0, outputs - here)  # infinities cancel
    basis = np.linalg.qr(np.vander(places, 6))[0]
    residuals = changes - basis @ (basis.T @ changes)
    deviation = np.sqrt(np.sum(residuals**2, axis=0) / (12 - 6))
    moved, last_bit = changes.any(axis=0), EPSILON * np.abs(here)
    # Four deviations at each of the four points, whose weights add up to 3 / h, and half a last
    # bit at least.  An output that stands still changes by less than its last bit from -h to h;
    # of a constant, no more than 1 counts.
    still, moving = np.minimum(last_bit, EPSILON) / 2, np.maximum(12 * deviation, 1.5 * last_bit)
    bound = float(np.abs(line.dy) @ np.where(moved, moving, still))
    return bound / h if np.isfinite(bound) else 0.0


class Kink(NamedTuple):
    """The slopes of the two sides of a point at which they differ."""

    left: float
    right: float
    rounding: float  # a bound on the rounding of both

    def describe(self, kinks: str) -> str:
        """Say what a checker expects at such a point."""
        sides = f"slope {self.left:.4g} from the left, {self.right:.4g} from the right"
        expected = "expected a value between them"
        if kinks != "between":
            expected = 'where no derivative exists: move it away, or pass kinks="between"'
        return f"; this point lies on a kink ({sides}), {expected}"


@np.errstate(all="ignore")
def kink_at(line: Line, steps: Sequence[float], tolerance: float) -> Kink | None:
    """The slopes of both sides, if they differ, and None where they agree or cannot be measured.

    A slope is measured on one side alone by three steps, h, h / 2 and h / 4.  In their combination
    (D(h) - 6 D(h / 2) + 8 D(h / 4)) / 3, the errors of order h and h^2 cancel.  As in ``compare``,
    narrower steps follow until two of them agree, on both sides.  A jump is no kink: the slope of
    its far side grows without end.
    """
    before: tuple[Slope, Slope] | None = None
    for step in steps:
        left, right = _one_sided(line, -step), _one_sided(line, step)
        if before and all(
            _agree(one, two, tolerance) for one, two in zip(before, (left, right), strict=True)
        ):
            rounding = max(left.rounding, right.rounding)
            size = max(abs(left.numeric), abs(right.numeric))
            differ = abs(right.numeric - left.numeric) > SHARE * size + 2 * rounding
            return Kink(left.numeric, right.numeric, rounding) if differ else None
        before = left, right
    return None


def _one_sided(line: Line, h: float) -> Slope:
    """The slope of the side to which h leads, of order h^3."""
    centre, here = line.move(0.0)
    slope, rounding = 0.0, 0.0
    for part, weight in ((1, 1 / 3), (2, -2.0), (4, 8 / 3)):
        moved, there = line.move(h / part)
        if moved == centre:
            return Slope(0.0, float("nan"), 0.0)
        changed = there != here
        gap = np.subtract(there, here, out=np.zeros_like(line.dy), where=changed)
        size = np.max(np.maximum(np.abs(there), np.abs(here)), initial=0, where=changed)
        slope += weight * float(line.dy @ gap) / (moved - centre)
        bound = ROUNDING * size * (np.abs(line.dy) @ changed)
        rounding += abs(weight) * float(bound) / abs(moved - centre)
    return Slope(0.0, slope, rounding)


def between(kink: Kink, claimed: Slope, tolerance: float) -> Slope:
    """The verdict on a claimed slope at a kink, where every slope between both sides is right."""
    least, most = sorted((kink.left, kink.right))
    nearest, size = min(max(claimed.analytic, least), most), max(abs(least), abs(most))
    allowance = min(kink.rounding, SHARE * size)
    error = relative_error(claimed.analytic, nearest, allowance, tolerance)
    error = error if np.isfinite(error) else float("inf")
    allowed = tolerance * max(abs(claimed.analytic), abs(nearest)) + allowance
    verdict = ACCEPTED if error <= tolerance else WRONG
    return Slope(claimed.analytic, nearest, kink.rounding, error, allowed, verdict)
