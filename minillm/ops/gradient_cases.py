"""One case of every op for the gradient checker: ``CASES[name](rng, **sizes)`` -> op, args.

``check_gradients(op, *args, rng=rng)`` takes a case.  Arguments are drawn as the op declares them:
floats from a standard normal, integers from their range, and an argument that may be None is None
half of the time, except lengths: errors in a backward hide where all are equal.  ``VALUES`` has the
arguments that must be drawn otherwise, such as inputs away from a kink.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from minillm import checks, ops
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.testing.legends import away_from, draw

Case = tuple[Callable, tuple[Any, ...]]
Generator = np.random.Generator

# The sizes of an op differ, or a wrong axis would not be noticed.  "..." is B T.
SIZES: dict[str, Any] = {"B": 3, "T": 4, "S": 5, "I": 4, "O": 5, "H": 3, "V": 6, "D": 5, "N": 2}
SIZES |= {"A": 4, "C": 3, "E": 2, "J": 3, "K": 3, "P": 4, "F": 5, "M": 2, "G": 2}


def no_two_close(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """x (B, T, D), in whose columns the steps differ by half or more."""
    B, T, D = shape
    ranks = rng.permuted(np.tile(np.arange(T, dtype=float), (B, D, 1)), axis=2)
    return ranks.swapaxes(1, 2) + 0.5 * rng.random(shape)


def at_least_one(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    mask = rng.random(shape) < 0.7
    mask.flat[0] = True
    return mask


def longest_first(rng: Generator, shape: tuple[int, ...], T: int) -> np.ndarray:
    lengths = rng.integers(0, T + 1, shape)
    lengths[0] = T
    return lengths


def any_scaling(rng: Generator) -> Any:
    scalings = None, Linear(4.0), Llama3(8.0, 1.0, 4.0, 50.0), Yarn(8.0, 50.0)
    return scalings[rng.integers(len(scalings))]


def between(least: float, most: float) -> Callable:
    return lambda rng, shape, sizes: rng.uniform(least, most, shape)


VALUES: dict[str, Callable[[Generator, tuple[int, ...], dict[str, Any]], Any]] = {
    "relu.x": lambda rng, shape, _: away_from(rng.standard_normal(shape), 0.0),
    "gelu.approximate": lambda rng, *_: bool(rng.integers(2)),
    "rotary.positions": lambda rng, shape, _: rng.integers(0, 50, shape),
    "rotary.base": lambda *_: 100.0,
    "rotary.scaling": lambda rng, *_: any_scaling(rng),
    "cross_entropy.mask": lambda rng, shape, _: at_least_one(rng, shape),
    "cross_entropy.label_smoothing": lambda rng, *_: float(rng.choice([0.0, 0.2])),
    "cross_entropy.class_weights": between(0, 1),
    # the vocabulary lacks the last two targets
    "pointer_cross_entropy.targets": lambda rng, shape, s: rng.integers(0, s["V"] + 2, shape),
    "pointer_cross_entropy.copied": between(0.1, 1),
    "coverage.weights": between(0.1, 1),
    "coverage.lengths": lambda rng, shape, sizes: longest_first(rng, shape, sizes["T"]),
    # in a question of one word, w_u would change the result only by rounding
    "attention_flow.lengths": lambda rng, shape, sizes: longest_first(rng, shape, sizes["T"]),
    "attention_flow.question_lengths": lambda rng, shape, s: longest_first(rng, shape, s["J"]),
    "preference_loss.beta": lambda rng, *_: float(rng.choice([0.1, 2.0])),
    "policy_loss.beta": lambda *_: 0.3,
    "selective_scan.delta": between(0.1, 2),
    "selective_scan.A": between(-2, -0.1),
    "gated_delta_rule.alpha": between(0.3, 1),
    "gated_delta_rule.beta": between(0.1, 1),
    "max_pool.x": lambda rng, shape, _: no_two_close(rng, shape),
}


def declared_case(op: Any, rng: Generator, **given: int) -> Case:
    """Arguments as the op declares them, without constants, which have no gradient."""
    declared, parameters = op.declaration, inspect.signature(op).parameters
    sizes = SIZES | given
    sizes["..."] = sizes["B"], sizes["T"]
    absent = {
        a.name
        for a in declared.arguments
        if a.optional and a.axes and "i" not in a.axes and rng.integers(2)
    }
    for a in declared.arguments:
        if a.name in absent and a.otherwise:  # such as C=A
            sizes[a.otherwise[0]] = sizes[a.otherwise[-1]]
    args, constants = list[Any](), dict[str, Any]()
    for a in declared.arguments:
        shape = checks.shape_of(next(iter(a.axes.values()), ""), sizes)
        if a.name in absent:
            value = None
        elif own := VALUES.get(f"{declared.op}.{a.name}"):
            value = own(rng, shape, sizes)
        elif a.value:
            value = parameters[a.name].default
        else:
            value = draw(a, sizes, rng)
            if a.name.startswith("W"):
                value /= np.sqrt(shape[0])  # or a tanh would be saturated
        if a.constant or constants:
            constants[a.name] = value
        else:
            args.append(value)

    @functools.wraps(op)
    def of_variables(x: Any, *others: Any) -> Any:
        """The op of its other arguments.  Constants have the dtype of the first of them."""
        dtype = getattr(x, "dtype", float)  # the tests also call ops with what is no array
        named = {
            name: value.astype(dtype) if isinstance(value, np.ndarray) else value
            for name, value in constants.items()
        }
        return op(x, *others, **named)

    return of_variables if constants else op, tuple(args)


def dropout(rng: Generator, B: int = 4, D: int = 5, **others: int) -> Case:
    seed, rate, x = rng.integers(2**32), rng.uniform(0, 0.9), rng.standard_normal((B, D))
    return lambda x: ops.dropout(x, rate, np.random.default_rng(seed)), (x,)


def scaled_dot_product_attention(
    rng: Generator,
    B: int = 3,
    M: int = 2,
    G: int = 2,
    T: int = 4,
    S: int = 5,
    D: int = 3,
    E: int = 2,
    **others: int,
) -> Case:
    # G heads of queries for each head of keys
    shapes = (B, M * G, T, D), (B, M, S, D), (B, M, S, E)
    q, k, v = (rng.standard_normal(shape) for shape in shapes)
    causal, lengths = bool(rng.integers(2)), rng.integers(0, S + 1, B)
    start = rng.integers(0, S + 1, B) if rng.integers(2) else None
    window = int(rng.integers(1, S + 1)) if causal and rng.integers(2) else None
    arguments: tuple[Any, ...] = causal, lengths, start
    if window is not None:
        mask = ops.Mask(causal, lengths, start, window, sinks=int(rng.integers(3)))
        arguments = False, None, None, mask
    return ops.scaled_dot_product_attention, (2 * q, 2 * k, v, *arguments)


CASES: dict[str, Callable[..., Case]] = {
    name: functools.partial(declared_case, op)
    for name, op in vars(ops).items()
    if hasattr(op, "declaration") and op.declaration.outputs
}
CASES |= {"dropout": dropout, "scaled_dot_product_attention": scaled_dot_product_attention}
