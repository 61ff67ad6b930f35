"""The door of an op, and checks of single arrays and numbers.

Kernels trust their arguments.  So an op declares them, beside its signature, and its own lines work
with arrays that fit:

    @op("x: ... I, W: I O, b: O? -> y: ... O")
    def linear(x, W, b=None): ...

    x: B T I              floats of shape (B, T, I); all floats of a call have one dtype
    W: I 4H, u: K-1 2     a letter is one size above 0, everywhere; 4 times H, one less than K, 2
    y: ... D              any leading axes; wherever "..." is, they are the same.  The op's own
                          lines see a single axis in their place
    w: N constant         floats without a gradient
    ids: ... < V          integers from 0 to V - 1; with "<=", to V; with ">= 0", any
    x: B T I | B T < I    floats or integers
    mask: ... bool        booleans
    eps: positive         one value: the name is a function of this page; "any" has no check
    b: O?                 may be None
    lengths: B <= T or T  may be None: then all are T
    W: D C or C=D         may be None if C = D

An op gets arrays in C order, and integers as copies in int64.  The upstream gradients of its
outputs have their shapes and dtypes; None stands for zeros where there are several.  A message
names the op, the argument, what was expected and what was found:

    lstm: W_h: expected shape (H = 5, 4H = 20), found (5, 19)
"""

import functools
import inspect
import math
import numbers
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Order = Literal["C", "rows", "any"]  # C order, any strides but of the last axis, or any strides
Function = TypeVar("Function", bound=Callable[..., Any])
Sizes = dict[str, Any]  # a number for each letter; "..." has the shape of the leading axes

_Array = np.ndarray
_ARRAYS = (np.ndarray, np.memmap)  # not matrices or masked arrays: their * and @ differ
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # in this machine's byte order
_WORDS = {"f": "float32 or float64", "i": "integers", "b": "booleans"}
_MOST_BYTES = 2**40
_LARGEST = 2**53  # float64 has every integer up to here
_MOST_SHAPES = 1000  # that an op remembers
AXIS = re.compile(r"(?<!\w)([1-9]\d*)?([A-Z]\w*|(?<=\d)\b)(-\d+)?")  # 4, 4H, or K-1
_REQUIRED = object()


# --- declarations ------------------------------------------------------------------------


class Argument:
    """An argument or an output: its name, and its axes as floats, integers or booleans."""

    def __init__(self, text: str) -> None:
        self.name, _, kind = (" ".join(part.split()) for part in text.rpartition(":"))
        kind, _, self.otherwise = kind.partition(" or ")
        self.leading = kind.startswith("...")
        self.optional = kind.endswith("?") or self.otherwise != ""
        self.constant = kind.removesuffix("?").endswith(" constant")
        self.axes: dict[str, str] = {}  # by the kind of their dtype
        self.below, self.value = ("", 0), ""
        for form in kind.removesuffix("?").removesuffix(" constant").split(" | "):
            if match := re.fullmatch(r"(.+) (<|<=|>=) (\w+)", form):
                self.axes["i"], sign, letter = match.groups()
                self.below = letter, int(sign == "<=")
            elif form.endswith(" bool"):
                self.axes["b"] = form.removesuffix(" bool")
            elif form.islower():
                self.value = form
            else:
                self.axes["f"] = form


class Declaration:
    """The arguments and outputs of an op."""

    def __init__(self, op: str, text: str) -> None:
        arguments, _, outputs = text.partition("->")
        self.op = op
        self.arguments = [Argument(part) for part in arguments.split(",")]
        self.outputs = [Argument(part) for part in outputs.split(",") if part]

    def plan(self, given: Sequence[Any]) -> tuple[list, list, tuple[int, ...] | None, list]:
        """Check the types and shapes of arrays; return what each call has yet to do.

        It is a list of arrays, by number, with the shapes in which the op sees them; a list of
        arguments with a function that checks a value; the leading axes if they are joined; and the
        shapes of the gradients that have them.
        """
        sizes: Sizes = {"": 1}  # of a number alone
        pairs = list(zip(self.arguments, given, strict=True))
        arrays = [(a, x, _kind(x)) for a, x in pairs if a.axes and x is not None]
        first = next(((a.name, x.dtype) for a, x, kind in arrays if kind == "f"), ("", None))
        for a, x, kind in sorted(arrays, key=lambda array: array[2] != "f"):
            place, dtype = f"{self.op}: {a.name}", x.dtype
            if kind not in a.axes or (kind == "f" and dtype not in _FLOATS):
                expected = _WORDS[next(iter(a.axes))]
                raise TypeError(f"{place}: expected {expected}, found {dtype}")
            if kind == "f" and dtype != first[1]:
                expected = f"{first[1]}, the dtype of {first[0]}"
                raise TypeError(f"{place}: expected {expected}, found {dtype}")
            if x.nbytes > _MOST_BYTES:  # a view that repeats its numbers: kernels' sizes overflow
                raise MemoryError(
                    f"{place}: expected at most {_MOST_BYTES} bytes, found {x.nbytes}"
                )
            _fit(place, x.shape, a.axes[kind], sizes)
        for a, x in pairs:
            if x is None and "=" in a.otherwise and len({sizes[k] for k in a.otherwise[::2]}) > 1:
                expected = _expected(a.axes["f"], sizes)
                raise ValueError(f"{self.op}: {a.name}: expected shape {expected}, found None")
        leading, steps = sizes.get("..."), list(self._each_call(pairs, sizes))
        places = [(k, a, x) for k, (a, x) in enumerate(pairs) if a.axes and x is not None]
        if leading is None or len(leading) == 1:  # nothing is to be joined
            return [(k, x.shape) for k, _, x in places], steps, None, []
        rows, axes = math.prod(leading), len(leading)
        seen = [(k, (rows, *x.shape[axes:]) if a.leading else x.shape) for k, a, x in places]
        floats = [(a, x) for a, x, kind in arrays if kind == "f" and not a.constant]
        return seen, steps, leading, [x.shape for a, x in floats if a.leading]

    def _each_call(self, pairs: list, sizes: Sizes) -> Iterator[tuple[int, Callable[[Any], Any]]]:
        for k, (a, x) in enumerate(pairs):
            if a.value not in ("", "any"):
                yield k, functools.partial(globals()[a.value], self.op, a.name)
            elif x is None and a.otherwise and a.otherwise in sizes:
                full = np.full(shape_of(a.axes["i"], sizes), sizes[a.otherwise])
                yield k, functools.partial(_instead, full)
            elif x is not None and a.axes and _kind(x) == "i":
                letter, more = a.below
                below = sizes.get(letter, _LARGEST) + more
                yield k, functools.partial(_in_range, self.op, a.name, below)
            elif x is not None and a.axes and _kind(x) == "b":
                yield k, functools.partial(np.array, order="C", copy=True)


def _kind(array: NDArray) -> str:
    return array.dtype.kind.replace("u", "i")


def _instead(full: NDArray, _: None) -> NDArray:
    return full


# --- the door ----------------------------------------------------------------------------
#
# An op keeps arrays for its backward, and kernels trust their shapes.  So no array object is shared
# with the caller, who may set its ``shape`` between the two passes: the op gets views of its
# arguments, and the caller views of its outputs.  The pages need not think of it.


def op(declaration: str, order: Order = "C") -> Callable[[Function], Function]:
    """Declare the arguments and outputs of an op, and which strides it takes.

    A function whose declaration has no outputs has no backward.
    """

    def declare(function: Any) -> Any:
        declared = Declaration(function.__name__.removeprefix("_"), declaration)
        page = inspect.unwrap(function)
        names = page.__code__.co_varnames[: page.__code__.co_argcount]
        required = len(names) - len(page.__defaults__ or ())
        values = [_REQUIRED] * required + list(page.__defaults__ or ())
        places = {name: k for k, name in enumerate(names)}
        arrays = [(k, a) for k, a in enumerate(declared.arguments) if a.axes]
        outputs, any_strides, plans = declared.outputs, order == "any", dict[tuple, Any]()

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            given = [*args, *values[len(args) :]]
            if named or not required <= len(args) <= len(values):
                _bind(function, places, given, args, named)
            key: list[Any] = []
            for k, argument in arrays:
                array = given[k]
                if type(array) is not _Array:
                    if array is None and argument.optional:
                        key.append(None)
                        continue
                    require_array(declared.op, argument.name, array)
                key.append(array.shape)
                key.append(array.dtype)
            plan = plans.get(known := tuple(key))
            if plan is None:
                if len(plans) == _MOST_SHAPES:
                    plans.clear()
                plan = plans[known] = declared.plan(given)
            seen, steps, leading, with_gradients = plan
            for k, shape in seen:
                array = given[k]
                if not (array.flags.aligned and (any_strides or array.flags.c_contiguous)):
                    array = _laid_out(array, order)
                given[k] = array.reshape(shape)
            for k, step in steps:
                given[k] = step(given[k])
            if not outputs:
                return function(*given)
            ys, own = function(*given)
            joined = None
            if type(ys) is tuple:
                like = [(y.shape, y.dtype) for y in ys]
                whole: Any = tuple([y.view() for y in ys])
            elif leading is not None and outputs[0].leading:
                joined = ys.shape
                shape = leading + joined[1:]
                whole, like = ys.reshape(shape), [(shape, ys.dtype)]
            else:
                whole, like = ys.view(), [(ys.shape, ys.dtype)]

            def backward(*dys: Any) -> Any:
                if len(dys) != len(like):
                    dys = _completed(own, declared, dys)
                for k, (shape, dtype) in enumerate(like):
                    dy = dys[k]
                    if type(dy) is not _Array or dy.shape != shape or dy.dtype != dtype:
                        dy = _upstream(declared, k, dy, shape, dtype)
                    if not (dy.flags.aligned and (any_strides or dy.flags.c_contiguous)):
                        dy = _laid_out(dy, order)
                    if dy is not dys[k]:
                        dys = (*dys[:k], dy, *dys[k + 1 :])
                gradients = own(*dys) if joined is None else own(dys[0].reshape(joined))
                if not with_gradients:
                    return gradients
                if type(gradients) is not tuple:
                    return gradients.reshape(with_gradients[0])
                rest = gradients[len(with_gradients) :]
                return (*map(np.ndarray.reshape, gradients, with_gradients), *rest)

            backward.__wrapped__ = own  # type: ignore[attr-defined]  # for its signature
            return whole, backward

        call.declaration = declared  # type: ignore[attr-defined]
        return call

    return declare


def _bind(
    function: Callable, places: dict[str, int], given: list[Any], args: tuple, named: dict[str, Any]
) -> None:
    """Put the named arguments into their places."""
    for name, value in named.items():
        k = places.get(name, -1)
        if k < len(args):  # unknown, or given twice
            function(*args, **named)  # which raises Python's own TypeError
        given[k] = value
    if len(given) > len(places) or any(value is _REQUIRED for value in given):
        function(*args, **named)


def _laid_out(array: NDArray, order: Order) -> NDArray:
    """The array in C order, or with any strides but of its last axis, as it is if it can be.

    A number at an odd address is undefined behaviour in C.
    """
    rows = array.strides[-1:] == (array.itemsize,) or array.shape[-1:] == (1,)
    return array if order == "rows" and rows and array.flags.aligned else array.copy("C")


def _completed(own: Callable, declared: Declaration, dys: tuple) -> tuple:
    """All upstream gradients: one may be left out where the page's own has a default."""
    missing, defaults = len(declared.outputs) - len(dys), own.__defaults__ or ()
    if not 0 <= missing <= len(defaults):
        expected = len(declared.outputs)
        raise TypeError(f"{declared.op}: expected {expected} gradients, found {len(dys)}")
    return dys + defaults[len(defaults) - missing :]


def _upstream(declared: Declaration, k: int, dy: Any, shape: tuple, dtype: np.dtype) -> NDArray:
    """The gradient of output k as an array; None stands for zeros, a number for a scalar."""
    if dy is None and len(declared.outputs) > 1:
        return np.zeros(shape, dtype)
    if shape == () and type(dy) in (int, float):
        return np.asarray(dy, dtype)
    op, name = declared.op, f"d{declared.outputs[k].name}"
    if not isinstance(dy, np.generic):  # NumPy's scalars are what arrays without axes become
        require_array(op, name, dy)
    if dy.dtype != dtype:
        raise TypeError(f"{op}: {name}: expected {dtype}, found {dy.dtype}")
    if dy.shape != shape:
        raise ValueError(f"{op}: {name}: expected shape {shape}, found {dy.shape}")
    return np.asarray(dy)


# --- single arrays and numbers -----------------------------------------------------------


def require_array(op: str, name: str, value: Any) -> None:
    """Raise TypeError unless the value is a plain NumPy array."""
    if type(value) not in _ARRAYS:
        raise TypeError(f"{op}: {name}: expected a NumPy array, found {type(value).__name__}")


def _fit(place: str, shape: tuple[int, ...], axes: str, sizes: Sizes) -> None:
    """Check one shape, and note the sizes of letters that are new."""
    letters = axes.split()
    leading = letters[0] == "..."
    own = AXIS.findall(axes)  # a factor, a letter and a difference
    split = len(shape) - len(own)
    fits = split >= 0 if leading else split == 0
    if fits and leading:
        fits = sizes.setdefault("...", shape[:split]) == shape[:split]
    for size, (factor, letter, less) in zip(shape[split:] if fits else (), own, strict=False):
        factor, more = int(factor or 1), int(less or 0)
        if size > 0 and (size - more) % factor == 0:
            sizes.setdefault(letter, (size - more) // factor)
        fits = fits and letter in sizes and size == factor * sizes[letter] + more
    if not fits:
        raise ValueError(f"{place}: expected shape {_expected(axes, sizes)}, found {shape}")


def shape_of(axes: str, sizes: Sizes) -> tuple[int, ...]:
    """The shape of declared axes, such as "B 4H", with these sizes."""
    leading = sizes["..."] if axes.startswith("...") else ()
    own = AXIS.findall(axes)
    return (*leading, *(int(n or 1) * sizes[letter] + int(less or 0) for n, letter, less in own))


def _expected(axes: str, sizes: Sizes) -> str:
    """Axes in words, such as "(B = 2, T > 0, 4H = 8)"."""
    words = []
    for axis in axes.split():
        if axis == "...":
            words += sizes.get("...", ["..."])
        elif AXIS.findall(axis)[0][1] in sizes:
            words.append(f"{axis} = {shape_of(axis, sizes)[0]}")
        else:
            words.append(f"{axis} > 0")
    return f"({', '.join(map(str, words))}{',' * (len(words) == 1 and axes == '...')})"


def ids(
    op: str, name: str, array: NDArray, below: int, shape: tuple[int, ...] | None = None
) -> NDArray[np.int64]:
    """An int64 copy of integers in 0..below-1, of the given shape if there is one."""
    require_array(op, name, array)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name}: expected integers, found {array.dtype}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{op}: {name}: expected shape {shape}, found {array.shape}")
    return _in_range(op, name, below, array)


def _in_range(op: str, name: str, below: int, array: NDArray) -> NDArray[np.int64]:
    """An int64 copy of integers in 0..below-1.

    It is a copy because a backward indexes with what its forward has checked: later writes
    into the caller's array must not reach it.
    """
    checked = np.array(array, np.int64, order="C", copy=True, subok=False)
    if checked.size == 1:  # as in each step of generation, where the reduction takes longer
        fits = 0 <= checked.item() < below
    else:  # as unsigned integers, negative ones are larger than any limit
        numbers = checked.view(np.uint64)
        fits = checked.size == 0 or numbers.item(numbers.argmax()) < below
    if not fits:
        raise ValueError(
            f"{op}: {name}: expected 0..{below - 1}, found {array.min()}..{array.max()}"
        )
    return checked


def sequence_lengths(op: str, lengths: NDArray | None, B: int, T: int) -> NDArray[np.int64]:
    """Lengths (B,) as int64; where they are None, every length is T."""
    if lengths is None:
        return np.full(B, T, np.int64)
    return ids(op, "lengths", lengths, T + 1, (B,))


def fits_context(tokens: int, context: int) -> None:
    """ValueError for more tokens than fit the context."""
    if tokens > context:
        raise ValueError(f"expected at most {context} tokens, found {tokens}")


def _number(expected: str, least: float, below: float, op: str, name: str, value: Any) -> float:
    """A real number as a float: a NumPy scalar would change the dtype of a product."""
    if type(value) is not float and not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: {name}: expected a number, found {type(value).__name__}")
    if not least <= (number := float(value)) < below:
        raise ValueError(f"{op}: {name}: expected {expected}, found {value}")
    return number


positive = functools.partial(_number, "above 0 and finite", math.ulp(0.0), math.inf)
not_negative = functools.partial(_number, "0 or more and finite", 0.0, math.inf)
below_one = functools.partial(_number, "at least 0 and below 1", 0.0, 1.0)


def count(op: str, name: str, value: Any) -> int:
    """A whole number from 1 up as an int."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{op}: {name}: expected a whole number, found {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{op}: {name}: expected 1 or more, found {value}")
    return int(value)


def flag(op: str, name: str, value: Any) -> bool:
    """True or False; anything else is an error, even if it has a truth value."""
    value = value[()] if isinstance(value, np.ndarray) and value.shape == () else value
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{op}: {name}: expected True or False, found {type(value).__name__}")
    return bool(value)


def generator(op: str, name: str, value: Any) -> np.random.Generator:
    """A generator of random numbers."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{op}: {name}: expected a NumPy Generator, found {type(value).__name__}")
    return value


def contiguous(*arrays: NDArray | None) -> tuple[Any, ...]:
    """The arrays in C order, and None for None; only arrays in another order are copied."""
    return tuple([a if a is None or a.flags.c_contiguous else a.copy("C") for a in arrays])
