"""Padding, for every op that has lengths: it changes nothing, and a batch equals its rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.ops.padding import zero_padded
from minillm.testing import strategies

from .cases import (
    case_of,
    declared,
    is_float,
    names_of,
    on_its_twins,
    results,
    tuple_of,
    upstream_of,
)

CUT = {  # by the op, its arguments of lengths and the axis that each of them cuts
    name: {a.name: a.below[0] for a in declared(name) if a.name.endswith("lengths")}
    for name in CASES
}
PADDED = [name for name in CUT if CUT[name]]
# A loss has no rows, and where the queries of a causal mask stand depends on S.
OF_ROWS = [name for name in PADDED if name not in ("coverage", "scaled_dot_product_attention")]


def lengths_of(name, arguments):
    """The lengths of a case, by the letter of the axis."""
    mask = arguments.get("mask")
    return {
        letter: arguments[key] if mask is None else mask.lengths
        for key, letter in CUT[name].items()
    }


def padding(a, x, lengths):
    """True where an argument or output of these axes lies in the padding of its row."""
    letters, found = a.axes["f"].split(), np.zeros(np.shape(x), bool)
    for letter, of_rows in lengths.items():
        if letters[:1] == ["B"] and letter in letters:
            positions = np.arange(x.shape[letters.index(letter)])
            behind = len(letters) - 1 - letters.index(letter)
            positions = positions.reshape(-1, *[1] * behind)
            found |= positions >= of_rows.reshape(-1, *[1] * (len(letters) - 1))
    return found


@on_its_twins(PADDED)
@given(rng=strategies.generators(), junk=st.sampled_from([100.0, np.nan, np.inf, -np.inf]))
def test_padding_changes_nothing(name, kernels, rng, junk):
    """Nor do the upstream gradients of padding, and all results there are zero."""
    op, args = case_of(name, rng, np.float32)
    arguments = dict(zip(names_of(op), args, strict=False))
    lengths = lengths_of(name, arguments)
    with use_kernels("numpy"):
        upstream = upstream_of(op(*args)[0], rng)
    inputs = [a for a in declared(name) if is_float(arguments.get(a.name))]
    outputs = getattr(ops, name).declaration.outputs

    def soil(a, x):
        return np.where(padding(a, x, lengths), np.float32(junk), x)

    dirty = {a.name: soil(a, arguments[a.name]) for a in inputs}
    others = [soil(a, dy) for a, dy in zip(outputs, upstream, strict=True)]
    clean = results(kernels, op, args, upstream)
    # a linear recurrence computes such steps, and leaves them out
    invalid = "ignore" if name == "linear_recurrence" else "warn"
    with np.errstate(invalid=invalid):
        soiled = results(kernels, op, (arguments | dirty).values(), others)
    for a, one, other in zip([*outputs, *inputs], clean, soiled, strict=True):
        np.testing.assert_array_equal(one, other)
        assert not one[padding(a, one, lengths)].any()


def row_of(a, x, b, lengths):
    """An argument or output of row b alone, cut to its lengths."""
    if not is_float(x):
        return x
    letters = a.axes["f"].split()
    x = x[b : b + 1] if letters[0] == "B" else x
    for letter in lengths.keys() & letters:
        x = x.take(range(lengths[letter][b]), letters.index(letter))
    return x


@on_its_twins(OF_ROWS)
@given(rng=strategies.generators())
def test_a_batch_equals_its_rows(name, kernels, rng):
    op, args = case_of(name, rng)
    arguments = dict(zip(names_of(op), args, strict=False))
    lengths = lengths_of(name, arguments)
    with use_kernels(kernels):
        whole = tuple_of(op(*args)[0])
        for b in range(len(args[0])):
            if not all(of_rows[b] for of_rows in lengths.values()):
                continue  # a row without steps; test_padding_changes_nothing has them
            alone = {a.name: row_of(a, arguments[a.name], b, lengths) for a in declared(name)}
            outputs = tuple_of(op(**alone | dict.fromkeys(CUT[name]))[0])
            for a, one, other in zip(op.declaration.outputs, outputs, whole, strict=True):
                other = row_of(a, other, b, lengths)
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["mean_pool", "max_pool", "attention_flow"])
def test_a_row_without_steps_is_zero(name):
    op, args = case_of(name, np.random.default_rng(0))
    arguments = dict(zip(names_of(op), args, strict=False))
    y, _ = op(**arguments | {"lengths": np.array([0, 2, 0])})
    assert not y[[0, 2]].any()
    assert y[1].any()


def test_pools_by_hand():
    x = np.array([[[1.0, 8.0], [3.0, 2.0], [2.0, 9.0]]])
    np.testing.assert_array_equal(ops.mean_pool(x, np.array([2]))[0], [[2, 5]])
    y, backward = ops.max_pool(x, np.array([2]))
    np.testing.assert_array_equal(y, [[3, 8]])
    np.testing.assert_array_equal(backward(np.array([[5.0, 7.0]])), [[[0, 7], [5, 0], [0, 0]]])


def test_reversing_by_hand():
    x = np.arange(1.0, 9).reshape(2, 4, 1)
    y, _ = ops.reverse(x, np.array([3, 0]))
    np.testing.assert_array_equal(y[..., 0], [[3, 2, 1, 0], [0, 0, 0, 0]])


def test_padding_of_zeros_is_not_copied():
    x, lengths = np.ones((2, 2, 4, 3)), np.array([4, 1])
    x[1, :, 1:] = 0
    assert zero_padded(x, lengths) is x
    for wrong in (1.0, np.nan):
        dirty = x.copy()
        dirty[1, 1, 3, 2] = wrong
        np.testing.assert_array_equal(zero_padded(dirty, lengths), x)
