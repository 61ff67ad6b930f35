"""Scaled angles: transformers' (make_scaling_vectors.py), and what each scaling is made for."""

import json
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops
from minillm.data.entries import Entries
from minillm.formats.angles import read_angles
from minillm.ops.rotary_scaling import (
    Linear,
    Llama3,
    Scaling,
    Yarn,
    class_of,
    yarn_attention_factor,
)
from minillm.testing import strategies

THEIRS = json.loads(Path(__file__).with_name("scaling_vectors.json").read_text())


@pytest.mark.parametrize("vector", THEIRS["vectors"])
def test_against_transformers(vector):
    given = {"rope_theta": vector["base"], **vector["entries"]}
    values = {"max_position_embeddings": THEIRS["context"], "rope_parameters": given}
    base, scaling = read_angles(Entries("config.json", values))
    found = scaling.frequencies(vector["D"], base)
    np.testing.assert_allclose(found, vector["angles"], rtol=1e-6)
    assert scaling.attention_factor == pytest.approx(vector["factor"], rel=1e-9)


FACTORS = st.floats(1, 64)
CONTEXTS = st.integers(16, 100_000)


@st.composite
def scalings(draw):
    kind, s, L = draw(st.sampled_from(get_args(Scaling))), draw(FACTORS), draw(CONTEXTS)
    if kind is Linear:
        return Linear(s)
    low, more = draw(st.floats(0.25, 4)), draw(st.floats(0.5, 30))
    if kind is Llama3:
        return Llama3(s, low, low + more, L)
    return Yarn(s, L, low + more, low, draw(st.booleans()))


@given(strategies.generators(), st.floats(0.5, 2))
def test_the_factor_of_cos_and_sin_is_squared_in_the_scores(kernels, rng, m):
    q, k = rng.standard_normal((2, 1, 2, 5, 6))
    positions = np.arange(5)[None]
    products = []
    for factor in (1.0, m):
        scaling = Yarn(1.0, 9.0, attention_factor=factor)
        (q_, _), (k_, _) = (ops.rotary(x, positions, 50.0, scaling) for x in (q, k))
        products.append(q_ @ k_.mT)
    np.testing.assert_allclose(products[1], m**2 * products[0], rtol=1e-9, atol=1e-12)


@given(scalings())
def test_fields_tell_the_class(scaling):
    values = {entry.name: getattr(scaling, entry.name) for entry in fields(scaling)}
    assert class_of(values) is type(scaling)
    assert class_of(values)(**values) == scaling


def test_of_damaged_fields_the_class_is_linear():
    assert class_of({"factor": 1, "more": 2}) is Linear


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(0), "factor: expected a number from 1e-9 to 1e9, found 0"),
        (
            lambda: Yarn(2, np.inf),
            "original_context: expected a number from 1e-9 to 1e9, found inf",
        ),
        (lambda: Yarn(2, 9, 1, 2), "beta_fast: expected 2 or more, found 1"),
        (lambda: Yarn(2, 9, attention_factor=0), "attention_factor: expected a number from 1e-9"),
        (lambda: Llama3(2, 4, 4, 9), "high_frequency_factor: expected more than 4, found 4"),
        (lambda: Yarn(2, 9).frequencies(4, 1.0), "base: expected above 1 with YaRN, found 1.0"),
    ],
)
def test_what_is_no_scaling(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_attention_factor_of_yarn_by_hand():
    assert yarn_attention_factor(np.e) == pytest.approx(1.1)
    assert yarn_attention_factor(0.5) == 1
    assert Yarn(np.e, 9).attention_factor == pytest.approx(1.1)
