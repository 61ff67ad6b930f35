"""Calls of an op and of its backward, with errors that say what an author needs."""

import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import describe_error


class GradientError(AssertionError):
    """A backward is not the derivative of its forward, or breaks the convention.

    Its text names the wrong line, where one can be told.  It is looked for when the text is first
    asked for, because most errors of a property test are never read.
    """

    fault: tuple[Any, Any, str] | None = None  # the point, its gradients, and a kind of fault
    explain: Callable[[bool, bool], str] | None = None  # what finds the line
    locate: bool | None = None  # whether to look for the line; None: if it takes a second
    fixes = True  # whether the text may show how the line would be right
    ending = ""  # a last line, such as the call to repeat
    _text: str | None = None

    def __str__(self) -> str:
        lines = [super().__str__(), self.ending]
        if self.explain is not None and self.locate is not False:
            if self._text is None:
                self._text = self.explain(self.locate is True, self.fixes)
            lines.insert(1, self._text)
        return "\n".join(filter(None, lines))


def faulty(message: str, *fault: Any) -> GradientError:
    """An error that knows the point, its compared gradients, and what kind of fault it is."""
    error = GradientError(message)
    error.fault = fault
    return error


def call_op(op: Callable, args: Sequence[Any]) -> tuple[Any, tuple[NDArray, ...], Callable]:
    """The output of ``op(*args)``, the same as a tuple of copied arrays, and the backward.

    Raises GradientError for another result, and lets an exception of the op itself pass.
    """
    pair = op(*args)
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and callable(pair[1])):
        raise GradientError(f"the op: expected (output, backward), found {kind(pair)}")
    result, backward = pair
    for number, y in enumerate(as_tuple(result)):
        if not is_numeric(y):
            raise GradientError(f"output {number}: expected an array of floats, found {kind(y)}")
    return result, tuple(np.array(y) for y in as_tuple(result)), backward


def results_of(
    op: Callable, args: Sequence[Any], upstream: Sequence[NDArray], label: str
) -> tuple[tuple[NDArray, ...], tuple[NDArray, ...]]:
    """The outputs and the gradients; GradientError, with the label, for an exception."""
    try:
        _, outputs, backward = call_op(op, args)
    except GradientError:
        raise
    except Exception as error:
        raise GradientError(f"{label}: the op raised {describe_error(error)}") from error
    gradients = call_backward(backward, upstream, call=f"{label}: the backward")
    return outputs, tuple(np.array(g) for g in as_tuple(gradients))


def call_backward(
    backward: Callable,
    upstream: Sequence[NDArray | None],
    arguments: dict[str, Any] | None = None,
    call: str = "the backward",
) -> Any:
    """``backward(*upstream)``.

    Raises GradientError if it takes another number of gradients, and in place of any exception.
    The message has the line of the exception and the shapes of the arrays.
    """
    try:
        signature = inspect.signature(backward)
    except (TypeError, ValueError):  # some functions of C have none
        pass
    else:
        try:
            signature.bind(*upstream)
        except TypeError:
            raise GradientError(
                f"the backward takes {signature}, expected a parameter for the gradient of each "
                f"output: {len(upstream)}"
            ) from None
    try:
        return backward(*upstream)
    except Exception as error:
        names = parameter_names(backward, len(upstream), "upstream gradient")
        given = dict(zip(names, upstream, strict=True)) | (arguments or {})
        lines = [f"{call} raised {describe_error(error)}", *_place(error, backward)]
        if shapes := shapes_of(given):
            lines.append(f"it was given {shapes}")
        raise GradientError("\n".join(lines)) from error


def _place(error: BaseException, function: Callable) -> list[str]:
    """Say at which line the error arose, and the shapes of the arrays in this line.

    The line is the last one in the file of the function, otherwise the last one outside of NumPy.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    foreign = str(Path(np.__file__).parent)
    found = last_line(error, lambda file: code is not None and file == code.co_filename)
    found = found or last_line(error, lambda file: not file.startswith((foreign, __file__)))
    if not found:
        return []
    frame, number, source = found
    place = f"in {Path(frame.f_code.co_filename).name}, line {number}"
    place += f": {source}" if source else ""
    shapes = shapes_in_line(frame, source)
    return [place + (f"  # {shapes}" if shapes else "")]


def last_line(
    error: BaseException, is_own: Callable[[str], bool]
) -> tuple[FrameType, int, str] | None:
    """The last line of a reader's own files that led to an error: its frame, number and text."""
    walked = traceback.walk_tb(error.__traceback__)
    own = [(frame, number) for frame, number in walked if is_own(frame.f_code.co_filename)]
    if not own:
        return None
    frame, number = own[-1]
    linecache.checkcache(frame.f_code.co_filename)
    source = linecache.getline(frame.f_code.co_filename, number, frame.f_globals)
    return frame, number, source.strip()


def shapes_in_line(frame: FrameType, source: str) -> str:
    """The names and shapes of the arrays in a line of code: "x (3, 2), W (2,)"."""
    values = {**frame.f_globals, **frame.f_locals}
    return shapes_of({name: values.get(name) for name in re.findall(r"\w+", source)})


def shapes_of(values: dict[str, Any]) -> str:
    """The names and shapes of the arrays among some values."""
    arrays = {name: a for name, a in values.items() if isinstance(a, np.ndarray)}
    return ", ".join(f"{name} {a.shape}" for name, a in arrays.items())


def normals_like(arrays: Sequence[NDArray], rng: np.random.Generator) -> tuple[NDArray, ...]:
    """Draw an upstream gradient or a direction for each array, from a stream of their own.

    The next draws of ``rng`` itself could be equal to an argument that was drawn from another
    generator of the same seed, and a backward that confuses the two would pass.
    """
    stream = rng.spawn(1)[0]
    return tuple(np.asarray(stream.standard_normal(a.shape)) for a in arrays)


def parameter_names(function: Callable, count: int, otherwise: str = "argument") -> list[str]:
    """The names of the first parameters, and "argument 2", ... where it has no name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL][:count]
    return names + [f"{otherwise} {k}" for k in range(len(names), count)]


def as_tuple(result: Any) -> tuple:
    """A tuple as it is, and anything else as the only entry of one."""
    return result if isinstance(result, tuple) else (result,)


def bare(results: tuple) -> Any:
    """The only entry of a tuple, and a tuple of several as it is."""
    return results[0] if len(results) == 1 else results


def named(op: Callable, parameters: Iterable[inspect.Parameter]) -> Callable[..., Any]:
    """The op with the parameters that messages name: inspect reads this attribute."""
    op.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    return op


def known_as(call: Callable, backward: Callable, count: int, first: int = 0) -> Callable[..., Any]:
    """A call of the author's backward, whose lines and parameters messages name."""
    call.__wrapped__ = backward  # type: ignore[attr-defined]
    parameters = list(inspect.signature(backward).parameters.values())
    return named(call, parameters[first : first + count])


def zeros_for_none(dys: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    """The upstream gradients, with zeros in place of None."""
    return [np.zeros_like(y) if dy is None else dy for dy, y in zip(dys, outputs, strict=True)]


def copies(values: Sequence[Any]) -> list[Any]:
    """The values with a copy in place of each array."""
    return [a.copy() if isinstance(a, np.ndarray) else a for a in values]


def widened(values: Sequence[Any]) -> list[Any]:
    """Copies, with float64 in place of each array of floats."""
    return [a.astype(np.float64) if is_float(a) else a for a in copies(values)]


def flat(arrays: Sequence[NDArray], dtype: type = np.float64) -> NDArray:
    """A copy of all values in one vector."""
    return np.concatenate([np.ravel(array) for array in arrays], dtype=dtype)


def equal(one: NDArray, other: NDArray) -> bool:
    """Whether two arrays are equal, where NaN equals NaN."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")


def largest(array: NDArray) -> float:
    """The largest absolute value among the finite numbers; 0 if there are none."""
    return float(np.max(np.abs(array), initial=0, where=np.isfinite(array)))


def is_float(value: Any) -> bool:
    """Whether a value is an array of floats."""
    return isinstance(value, np.ndarray) and _has_floats(value)


def _has_floats(value: NDArray) -> bool:
    """Whether the dtype is of floats; the package ml_dtypes defines bfloat16 as a kind of bytes."""
    return value.dtype.kind == "f" or value.dtype.name == "bfloat16"


def is_numeric(value: Any) -> bool:
    """Whether a value is a number or an array of numbers, none of them complex."""
    if not isinstance(value, (np.ndarray, np.generic, float, int)):
        return False
    array = np.asarray(value)
    return array.dtype.kind in "iub" or _has_floats(array)


def kind(value: Any) -> str:
    """A value in words: its type, and the shape of an array."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__
