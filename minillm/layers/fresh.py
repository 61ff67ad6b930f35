"""Declarations of fresh parameters: shapes, and the distributions they are drawn from.

A layer or a model declares its parameters as ``name -> ParamSpec(shape, draw)``.  Shapes are thus
known before any array is allocated.  :class:`minillm.models.base.Model` draws the arrays in the
order of their declarations: ``draw(shape, rng, dtype)`` returns one.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Draw = Callable[[Shape, np.random.Generator, type], NDArray]


def zeros(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """Zeros, for a bias."""
    return np.zeros(shape, dtype)


def ones(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """Ones, for the gain of a norm."""
    return np.ones(shape, dtype)


def normal(deviation: float = 1.0) -> Draw:
    """Normal numbers with mean 0.

    With a deviation of sqrt(v / I), the outputs have v times the variance of the I inputs.  Before
    a relu, which halves it, v should be 2 (He, Zhang, Ren and Sun 2015, "Delving deep into
    rectifiers").
    """

    def draw(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
        return (deviation * rng.standard_normal(shape)).astype(dtype)

    return draw


def uniform(bound: float) -> Draw:
    """Uniform numbers from -bound to bound; their variance is bound^2 / 3."""

    def draw(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
        return rng.uniform(-bound, bound, shape).astype(dtype)

    return draw


def steps(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """Biases whose softplus is log-uniform between 0.001 and 0.1, as Mamba's steps begin."""
    delta = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), shape))
    return (delta + np.log(-np.expm1(-delta))).astype(dtype)  # the inverse of softplus


def glorot(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """A normal matrix (I, O) of variance 2 / (I + O): Glorot and Bengio (2010), equation 12."""
    return normal((2 / sum(shape)) ** 0.5)(shape, rng, dtype)


def side_by_side(count: int, draw: Draw) -> Draw:
    """Several matrices (I, O / count), drawn separately and joined to one matrix (I, O)."""

    def draw_all(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
        I, O = shape
        return np.concatenate([draw((I, O // count), rng, dtype) for _ in range(count)], axis=1)

    return draw_all


class ParamSpec(NamedTuple):
    """The declaration of a parameter.

    ``role`` is "matrix" where a dense layer multiplies by it, and "table" where ids select its
    rows.  ``depth`` counts the layers from below: 0 for an embedding, 1 for the lowest layer; None:
    above all layers.
    """

    shape: Shape
    draw: Draw = zeros
    role: str = ""
    depth: int | None = None


def at_depth(depth: int, declared: Mapping[str, ParamSpec]) -> dict[str, ParamSpec]:
    """The declarations of a layer at this depth."""
    return {name: fresh._replace(depth=depth) for name, fresh in declared.items()}


def draw_all(
    declared: Mapping[str, ParamSpec], rng: np.random.Generator, dtype: type = np.float32
) -> dict[str, NDArray]:
    """Draw the arrays of declared parameters, in their order."""
    return {name: fresh.draw(fresh.shape, rng, dtype) for name, fresh in declared.items()}
