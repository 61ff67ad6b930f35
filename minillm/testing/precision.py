"""The results of an op in float32, float16 or bfloat16, compared with its results in float64.

A format with p binary digits (24, 11, 8) rounds every number by at most u = 2^-p of itself, which
is half a unit in its last place.  No step fits the slopes of such an op: a step h measures them
with an error of u / h from rounding and h^2 from the curve, together u^(2/3) at best, or 4% in
bfloat16.  So ``check_gradients`` measures slopes in float64, to 1e-6, and this page compares
results: the op in the format with the same op in float64, at the same numbers.

The difference may have some units, of these terms:

- One unit in the last place of the largest number of the output, or of the gradient.
- How much the result changes if each input, and dy, changes by a unit in its last place: the
  largest of a few random changes.  For an output, the change is measured in float64, so that a
  cancellation or a sum that loses its terms inside the op is not accepted.  For a gradient, it is
  measured in the format: dx of a layer norm of two features is a small difference of large
  terms, and the format may have no right digit of it.
- For a gradient, u |dy y| / |x| of the largest dy y.  It changes dy y by its rounding, if x changes
  in proportion to its size.  This term is all that remains of the slope of a tanh near 1.

n roundings in a row differ by n / 2 units at most, and usually by sqrt(n) / 2.  A sum that adds n
equal terms one by one in its own format stops growing at n = 2^p: 2048 in float16, 256 in bfloat16.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minillm.testing.calls import (
    GradientError,
    call_op,
    copies,
    is_float,
    largest,
    normals_like,
    parameter_names,
    results_of,
    widened,
)
from minillm.testing.point import mean_size

# Binary digits; the smallest number above 0; the largest number; units that are accepted.
FORMATS = {
    "float32": (24, 2.0**-149, (2 - 2.0**-23) * 2.0**127, 128.0),
    "float16": (11, 2.0**-24, 65504.0, 16.0),
    "bfloat16": (8, 2.0**-133, (2 - 2.0**-7) * 2.0**127, 16.0),
}
FEW, MANY = 4, 64  # changes of the inputs: of every op, and before one is refused
NOISE = 2.0**-6  # of a rounding of the largest gradient: a smaller one is nothing but rounding


class Format(NamedTuple):
    """A format of floats."""

    name: str
    dtype: np.dtype  # of its arrays
    digits: int
    smallest: float
    largest: float
    ulps: float


def format_of(dtype: DTypeLike) -> Format:
    """The format with a name or a dtype.  ValueError for another one.

    NumPy has no bfloat16.  Its name alone means arrays of float32, which the op itself rounds
    before it multiplies; the dtype of the package ml_dtypes means arrays of bfloat16.
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in FORMATS:
        raise ValueError(f"dtype: expected {', '.join(FORMATS)}, found {name}")
    return Format(name, np.dtype("float32" if dtype == "bfloat16" else dtype), *FORMATS[name])


def check_float32(
    op: Callable[..., tuple[Any, Callable]],
    *args: Any,
    rng: np.random.Generator,
    ulps: float = 128.0,
) -> float:
    """Compare the op in float32 with the op in float64, at the same numbers.

    Returns the largest error, in the units above.  Raises GradientError above ``ulps``, and for
    results that are not float32.
    """
    return check_precision(op, args, rng, "float32", ulps)


@np.errstate(all="ignore")  # an overflow is reported
def check_precision(
    op: Callable,
    args: Sequence[Any],
    rng: np.random.Generator,
    dtype: DTypeLike,
    ulps: float | None = None,
) -> float:
    """The largest error, in the units above.  Raises GradientError above ``ulps`` of them."""
    form = format_of(dtype)
    names, ulps = parameter_names(op, len(args)), form.ulps if ulps is None else ulps
    floats = [k for k, a in enumerate(args) if is_float(a)]
    low = [a.astype(form.dtype) if k in floats else a for k, a in enumerate(args)]
    for k in floats:
        if np.any(np.isinf(low[k]) & np.isfinite(args[k])):
            raise ValueError(
                f"{names[k]}: expected numbers up to {form.largest:g} in {form.name}, found "
                f"{largest(args[k]):g}"
            )
    outputs = call_op(op, widened(low))[1]
    upstream = [dy.astype(form.dtype) for dy in normals_like(outputs, rng)]
    stream = rng.spawn(1)[0]
    labels = [f"output {k}" for k in range(len(outputs))]
    labels += [f"the gradient with respect to {names[k]}" for k in floats]

    def pair(values: Sequence[Any], dys: Sequence[NDArray]) -> tuple[Sequence, Sequence]:
        """All results in float64 and in the format."""
        exact = results_of(op, widened(values), widened(dys), "float64")
        return sum(exact, ()), sum(results_of(op, copies(values), copies(dys), form.name), ())

    def near(value: Any) -> Any:
        if not is_float(value):
            return value
        units = 2.0 ** (1 - form.digits) * stream.choice([-1.0, 1.0], value.shape)
        return np.asarray(value * (1 + units)).astype(form.dtype)

    exact, found = pair(low, upstream)
    if not len(exact) == len(found) == len(labels):
        count = min(len(exact), len(found)) - len(outputs)
        raise GradientError(f"the backward returned {count} gradients, expected {len(floats)}")
    terms = [largest(dy * y) for dy, y in zip(widened(upstream), exact, strict=False)]
    sizes = [np.where(x != 0, np.abs(x), mean_size(x)) for x in widened(low) if is_float(x)]
    floors = [2.0**-form.digits * max(terms, default=0.0) / size for size in sizes]
    for label, exact_one, result in zip(labels, exact, found, strict=True):
        if exact_one.dtype.kind == "f" and result.dtype != form.dtype:
            raise GradientError(f"{label} is {result.dtype}, expected {form.dtype}")
    nearby: list[tuple[Sequence, Sequence]] = []
    for draws in (FEW, MANY):
        while len(nearby) < draws:
            nearby.append(pair([near(a) for a in low], [near(dy) for dy in upstream]))
        judged = []
        for k, label in enumerate(labels):
            is_output = k < len(outputs)
            top = max(map(largest, exact[: len(outputs)] if is_output else exact[len(outputs) :]))
            here, side = (exact[k], 0) if is_output else (found[k], 1)
            changes = [_gap(here, results[side][k]) for results in nearby]
            change = max(float(np.max(gap, initial=0)) for gap in changes)
            more = change if is_output else change + floors[k - len(outputs)]
            judged.append(_judge(label, exact[k], found[k], form, top, more))
        error, message = max(judged, key=itemgetter(0))  # of equal ones the first
        if error <= ulps:
            return error
    raise GradientError(f"{message}, expected at most {ulps:g}")


def _judge(
    label: str, exact: NDArray, found: NDArray, form: Format, top: float, more: NDArray | float
) -> tuple[float, str]:
    """The largest error of a result, in units, and a sentence about it."""
    own = largest(exact)
    size = own if own > NOISE * 2.0**-form.digits * top else top
    last = max(float(np.ldexp(float(size > 0), np.frexp(size)[1] - form.digits)), form.smallest)
    gap, unit = _gap(exact, found), np.broadcast_to(last + more, exact.shape)
    errors = np.where(np.isfinite(gap), gap / unit, np.inf)
    if label.startswith("output") and 0 < own < form.smallest:
        errors = np.full(exact.shape, np.inf)
    if not errors.size or exact.dtype.kind != "f":
        return 0.0, ""
    worst = np.unravel_index(np.argmax(errors), errors.shape)
    hint, result = "", np.asarray(found, np.float64)
    if not np.isfinite(result[worst]):
        hint = f" (does a step exceed {form.largest:g}?)"
    elif result[worst] == 0:
        hint = f" (does a step fall below {form.smallest:.2g}?)"
    where = f" at {[int(i) for i in worst]}" if worst else ""
    return float(errors[worst]), (
        f"{label} in {form.name} is wrong by {errors[worst]:.3g} units of {unit[worst]:.3g}{where}"
        f": {result[worst]:.6g}, in float64 {exact[worst]:.6g}{hint}"
    )


@np.errstate(all="ignore")
def _gap(one: NDArray, other: NDArray) -> NDArray:
    """The differences; infinite, if one is infinite or NaN where the other is not."""
    if one.shape != other.shape:
        return np.full(one.shape, np.inf)
    wide, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    same = (wide == other) | (np.isnan(wide) & np.isnan(other))
    gap = np.where(same, 0, np.abs(wide - other))
    return np.where(np.isnan(gap), np.inf, gap)
