"""What is particular to the scans: parts of a text, decays at their ends, and bad input."""

import numpy as np
import pytest

from minillm import ops

from .twin_cases import ARGUMENTS, OF_SCAN, WRONG, Draw, arguments_of_scan, of_mamba, wrong_versions


@pytest.mark.parametrize("name", OF_SCAN)
def test_a_text_may_be_cut_anywhere(twin, name):
    """The last state of a part is the first state of the next, bit for bit."""
    given = arguments_of_scan(name, OF_SCAN[name][0])
    forward, axis = getattr(twin, f"{name}_forward"), 2 if name == "gated_delta_rule" else 1
    constant = {n: a for n, a in given.items() if n in ("A", "skip")}
    first_state = given[ARGUMENTS[name][2 if name == "linear_recurrence" else -1]]
    names = [n for n in given if n not in (*constant, "h0", "S0", "lengths")]
    if name == "linear_recurrence":
        constant["lengths"] = None

    def read(begin, end, state):
        part = {n: np.ascontiguousarray(given[n].take(range(begin, end), axis)) for n in names}
        if "lengths" in constant:
            constant["lengths"] = np.full(len(state), end - begin)
        return forward(**part, **constant, **{"S0" if "S0" in given else "h0": state})

    whole, last = read(0, 70, first_state)
    begin, state, parts = 0, first_state, []
    for end in (1, 32, 33, 70):
        y, state = read(begin, end, state)
        parts.append(y)
        begin = end
    np.testing.assert_array_equal(np.concatenate(parts, axis=axis), whole)
    np.testing.assert_array_equal(state, last)


@pytest.mark.usefixtures("both_twins")
def test_decays_that_vanish_are_no_division():
    """After 1,000 steps the product of the decays is 0 in float32; the states are not."""
    rng = np.random.default_rng(0)
    a, b = np.full((1, 1000, 4), 0.5, np.float32), rng.standard_normal((1, 1000, 4))
    (hs, _), backward = ops.linear_recurrence(a, b.astype(np.float32), np.ones((1, 4), np.float32))
    expected = sum(0.5**k * b[0, 999 - k] for k in range(60))
    np.testing.assert_allclose(hs[0, 999], expected, rtol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in backward(np.ones_like(hs)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_decays_at_their_ends(twin, original, dtype):
    """Exponents without bounds, and a NaN, in columns of their own."""
    given = arguments_of_scan("selective_scan", {"B": 1, "T": 3, "D": 8, "N": 1}, dtype)
    ends = [0.0, -1e4, 1e4, np.nan, -np.inf, np.inf, -20.0, 20.0]
    given |= {"A": np.array(ends, dtype)[:, None], "delta": np.ones((1, 3, 8), dtype)}
    with np.errstate(all="ignore"):
        results = [kernels.selective_scan_forward(**given) for kernels in (twin, original)]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_step_takes_nothing_that_does_not_fit(twin):
    given = of_mamba(Draw(float), B=2, D=7, E=13, N=5, K=2, R=1)
    for place, array in enumerate(given):
        for wrong in (*wrong_versions(array), None):
            with pytest.raises(WRONG):
                twin.mamba_layer_step(*given[:place], wrong, *given[place + 1 :])
