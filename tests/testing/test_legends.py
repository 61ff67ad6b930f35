"""Legends: what is drawn from them, how it shrinks, and the call that repeats it."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.testing import GradientError, arrays, as_op, check_gradients, lines
from minillm.testing.strategies import given_op_cases, op_cases

from .faulty import linear, spoiled

SEEDS = st.integers(0, 2**32 - 1)


without_db = spoiled(linear, lambda g, *_: (*g[:2], 0 * g[2]))


# --- what is drawn ----------------------------------------------------------------------


@given(
    axes=st.lists(st.lists(st.sampled_from("BTIOH"), min_size=1, max_size=3), min_size=1),
    sizes=st.fixed_dictionaries({letter: st.integers(1, 5) for letter in "BTIOH"}),
    seed=SEEDS,
)
def test_equal_letters_are_equal_sizes(axes, sizes, seed):
    legend = ", ".join(map(" ".join, axes))
    used = {letter: sizes[letter] for part in axes for letter in part}
    case = arrays(legend, seed=seed, **used)
    assert case.sizes == used
    assert [x.shape for x in case] == [tuple(sizes[letter] for letter in part) for part in axes]
    assert {x.dtype for x in case} == {np.dtype(np.float64)}


@given(case=op_cases("ids: B T < V, lengths: B <= T, mask: B T bool, 4H 2, ids: 3 < 2", T=(1, 6)))
def test_ids_lengths_masks_and_multiples(case):
    ids, lengths, mask, x, bits = case
    B, T, V, H = (case.sizes[letter] for letter in "BTVH")
    assert ids.shape == mask.shape == (B, T)
    assert 0 <= ids.min() <= ids.max() < V
    assert lengths.shape == (B,)
    assert 1 <= lengths.min() <= lengths.max() <= T
    assert mask.dtype == bool
    assert mask.any(axis=-1).all()
    assert x.shape == (4 * H, 2)
    assert set(bits.tolist()) <= {0, 1}


def test_every_number_in_its_range_is_drawn():
    ids, lengths, mask = arrays("ids: N < V, lengths: N <= V, mask: N V bool", N=200, V=3)
    assert set(ids.tolist()) == {0, 1, 2}
    assert set(lengths.tolist()) == {1, 2, 3}
    assert {False, True} == set(mask.ravel().tolist())


@given(seed=SEEDS, kinks=st.sampled_from([(), 0, (-1.0, 1.0)]), T=st.sampled_from([2, (2, 6)]))
def test_the_repr_of_a_case_draws_it_again(seed, kinks, T):
    case = arrays("B  T I,\nids: B < I", seed=seed, kinks=kinks, T=T)
    again = eval(repr(case), {"arrays": arrays, "np": np})
    assert repr(again) == repr(case)
    assert all(map(np.array_equal, case, again))


@given(case=op_cases("B T D", T=3, D=(5, 6)))
def test_sizes_are_fixed_and_limited(case):
    assert case.sizes["T"] == 3
    assert case.sizes["D"] in (5, 6)
    assert 1 <= case.sizes["B"] <= 4


def test_sizes_differ_where_they_can():
    for seed in range(20):
        sizes = arrays("A B C D, E F", seed=seed, E=(2, 2), F=(4, 6)).sizes
        assert {sizes[letter] for letter in "ABCD"} == {1, 2, 3, 4}
        assert (sizes["E"], sizes["F"] > 4) == (2, True)


def test_sizes_and_values_vary_with_the_seed():
    cases = [arrays("B T D", seed=seed) for seed in range(40)]
    assert {case.sizes["T"] for case in cases} == {3, 4, 5}
    assert {case.sizes["B"] for case in cases} == {1, 2, 3, 4}
    assert len({case[0].flat[0] for case in cases}) == 40


@given(case=op_cases("N D", N=50, D=20, kinks=(0, 1)))
def test_floats_keep_away_from_kinks(case):
    for kink in (0, 1):
        assert np.abs(case[0] - kink).min() >= 0.0499
    assert ((case[0] > 0.5) & (case[0] < 1)).any()


def test_the_upstream_gradient_is_no_argument():
    """Were both drawn from one stream, x would be dy here, and this backward would pass."""
    with pytest.raises(GradientError, match="respect to x is wrong"):
        arrays("B T D").check(lambda x: (x**2 / 2, lambda dy: x * x))


@pytest.mark.parametrize(
    ("legend", "sizes", "message"),
    [
        ("", {}, "expected parts such as .* found ''"),
        ("rate: positive", {}, "expected parts such as .* found 'rate: positive'"),
        ("ids B T", {}, "expected parts such as .* found 'ids B T'"),
        ("B (T)", {}, "expected parts such as .* found 'B \\(T\\)'"),
        ("0 B", {}, "expected parts such as .* found '0 B'"),
        (3, {}, "expected a legend such as .* found 3"),
        ("B T", {"S": 3}, 'expected sizes of B, T, the letters of "B T", found S'),
        ("B T", {"T": 0}, "T: expected a size of at least 1, or .* found 0"),
        ("B T", {"T": (3, 2)}, r"T: expected .* such as \(3, 5\); found \(3, 2\)"),
        ("B T", {"T": (1, 2, 3)}, r"T: expected .* found \(1, 2, 3\)"),
    ],
)
def test_a_wrong_legend_is_told_in_one_line(legend, sizes, message):
    with pytest.raises(InputError, match=f"^arrays: {message}") as caught:
        arrays(legend, **sizes)
    assert "\n" not in str(caught.value)


# --- what fails -------------------------------------------------------------------------


def test_a_failing_case_shrinks_to_the_least_one_and_no_line_is_sought(monkeypatch):
    def fails(case):
        with suppress(GradientError):
            case.check(without_db)
        return case.sizes["I"] > 1

    monkeypatch.setattr(lines, "locate", None)  # its text is asked for where it is read
    case = find(op_cases("B T I, I O, O"), fails)
    assert repr(case) == 'arrays("B T I, I O, O", B=1, T=3, I=2, O=1, seed=0)'


@given_op_cases("B I, I O, O")
def test_the_last_line_of_a_failure_repeats_it(case):
    """It has no other exception behind it: reports would print it, and hypothesis would take
    failures at other lines for others."""
    with pytest.raises(GradientError, match="respect to b is wrong") as caught:
        case.check(without_db, tolerance=1e-5, locate=False)
    assert caught.value.__context__ is None
    message, _, call = str(caught.value).rpartition("\nto repeat: ")
    assert call.startswith("check_gradients(wrong, *arrays(")
    with pytest.raises(GradientError) as again:
        eval(call, names | {"wrong": without_db})
    assert str(again.value) == message


names = {"arrays": arrays, "as_op": as_op, "check_gradients": check_gradients, "np": np}


def test_the_call_names_the_adapter_where_it_is_needed():
    class Double:
        def forward(self, x):
            return 2 * x

        def backward(self, dy):
            return 3 * dy

    with pytest.raises(GradientError) as caught:
        arrays("B").check(Double)
    call = str(caught.value).rpartition("\nto repeat: ")[2]
    assert call.startswith('check_gradients(as_op(Double), *arrays("B", B=')
    with pytest.raises(GradientError):
        eval(call, names | {"Double": Double})
