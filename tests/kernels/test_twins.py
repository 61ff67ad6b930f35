"""Each Cython kernel equals its NumPy original: names, signatures, numbers; and its bits are the
same whatever the number of threads.  twin_cases.py has the cases."""

import inspect

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import minillm
from minillm import use_precision

from .twin_cases import CASES, NAMES, TOLERANCE, WIDTHS, WRONG, Draw, sequence, wrong_versions

DTYPES = [np.float32, np.float64]
DRAWN_DTYPES = st.sampled_from(DTYPES)
PRECISIONS = pytest.mark.parametrize("dtype", DTYPES)
IN_FLOAT32 = pytest.mark.parametrize("precision", ["float32", "bfloat16"])


def functions(kernels):
    return {name: value for name, value in vars(kernels).items() if callable(value)}


def several(outputs):
    if not isinstance(outputs, tuple):
        return [outputs]
    return [a for x in outputs for a in (x if isinstance(x, list) else [x])]


def assert_same(ours, theirs, dtype, tolerance=TOLERANCE):
    for one, other in zip(several(ours), several(theirs), strict=True):
        if other is None:
            assert one is None
            continue
        assert one.shape == other.shape
        assert one.dtype == other.dtype == dtype
        by_step = one.swapaxes(1, 2) if one.ndim == 4 else one  # heads lie beside each other
        assert one.flags.c_contiguous or by_step.flags.c_contiguous
        scale = max(1.0, np.abs(other).max(initial=0.0))
        assert np.abs(one - other).max(initial=0.0) <= tolerance[dtype] * scale


# --- the table ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].sizes is not None])
@given(st.data(), DRAWN_DTYPES, st.integers(0, 99))
def test_the_twin_is_the_original(twin, original, name, data, dtype, seed):
    case, sizes = CASES[name], data.draw(CASES[name].sizes)
    for kernel, arguments, expected in case.calls(original, dtype, sizes, seed):
        assert_same(getattr(twin, kernel)(*arguments), expected, dtype, case.tolerance)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].large])
@PRECISIONS
def test_at_large_sizes_with_the_same_bits_on_any_threads(twin, original, same_bits, name, dtype):
    case = CASES[name]
    for sizes in case.large:
        for kernel, arguments, expected in case.calls(original, dtype, sizes):

            def run(kernel=kernel, arguments=arguments):
                return several(getattr(twin, kernel)(*arguments))

            ours = same_bits(run, counts=case.counts)
            assert_same(tuple(ours), tuple(several(expected)), dtype, case.tolerance)


def test_every_original_has_a_twin_and_every_twin_an_original(twin, original):
    assert functions(twin).keys() == functions(original).keys()


def test_the_package_and_its_ops_export_no_original(original):
    """A kernel trusts its arguments, so what is exported checks them first."""
    originals = set(functions(original).values())
    for module in (minillm, minillm.ops):
        values = [value for value in vars(module).values() if callable(value)]
        exported = {inspect.unwrap(v) for v in values if not hasattr(v, "declaration")}
        assert not originals & exported


def test_signatures_are_the_same(twin, original):
    for name, function in functions(original).items():
        ours = inspect.signature(functions(twin)[name]).parameters
        assert list(ours) == list(inspect.signature(function).parameters), name


# --- arrays that do not fit -----------------------------------------------------------------

CHECKED = {
    "matmul": (6, 5, 4, (False, False, True)),
    "embedding": (9, 5, 4),
    "cross_entropy": (5, 7, 0.1),
    "gelu": (9,),
    "swiglu": (5, 6),
    "layer_norm": (5, 6),
    "rms_norm": (5, 6),
}


@pytest.mark.parametrize("name", CHECKED)
@PRECISIONS
def test_arrays_that_do_not_fit_are_refused(twin, original, name, dtype):
    """Or taken as the original takes them: more rows, say, or the strides of a product."""
    for kernel, arguments, expected in CASES[name].calls(original, dtype, CHECKED[name]):
        for place, argument in enumerate(arguments):
            if not isinstance(argument, np.ndarray):
                continue
            wrongs = list(wrong_versions(argument))
            if argument.dtype.kind == "i":
                wrongs += [argument - 9, argument + 9]
            for wrong in wrongs:
                given = [*arguments[:place], wrong, *arguments[place + 1 :]]
                try:
                    ours = getattr(twin, kernel)(*given)
                except WRONG:
                    continue
                given = [np.asarray(a) if a is wrong else a for a in given]
                flat = np.size(wrong) == argument.size and given[place].dtype == argument.dtype
                theirs = expected if flat else getattr(original, kernel)(*given)
                assert_same(ours, theirs, several(theirs)[0].dtype.type)


@pytest.mark.parametrize("place", range(4))
def test_adam_refuses_arrays_that_do_not_fit(twin, place):
    arrays = [[np.ones((3, 2), np.float32)] for _ in range(4)]
    fixed = np.ones((3, 2), np.float32)
    fixed.flags.writeable = False
    wrongs = [wrong for wrong in wrong_versions(fixed) if np.size(wrong) != 6 or place > 0]
    wrongs += [np.ones((2, 3), np.float32).T, np.ones((3, 2), int), *([fixed] * (place != 1))]
    for wrong in wrongs:
        if isinstance(wrong, np.ndarray) and wrong.shape == (1, 3, 2):
            continue  # as many numbers in the same order
        given = [*arrays[:place], [wrong], *arrays[place + 1 :]]
        with pytest.raises(WRONG):
            twin.adam_update(*given, [1.0], 0.8, 0.95, 1e-2, 1.3, 1e-8)


# --- far out --------------------------------------------------------------------------------


def test_cross_entropy_of_extreme_logits(twin, original):
    logits = np.array([[1e4, -1e4, 0], [-np.inf, 0, 1], [np.nan, 0, 1], [-80, -80, -80]])
    logits = np.tile(logits, (1, 7)).astype(np.float32)
    with np.errstate(invalid="ignore"):
        ours, theirs = (
            kernels.cross_entropy_forward(logits, np.array([3, 1, 2, 20]), 0.0)
            for kernels in (twin, original)
        )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_additive_attention_never_reads_beyond_a_row(twin, original):
    calls = CASES["additive_attention"].calls(original, np.float64, (3, 70, 80, 9, 5))
    for name, arguments, _ in calls:
        kernel, places = getattr(twin, name), (1, 2) if "forward" in name else (1, 3, 4)
        lengths = arguments[4 if "forward" in name else 6]
        dirty = [a.copy() for a in arguments]
        for place in places:  # the gradient of the weights, the keys, the values
            for b, length in enumerate(lengths):
                beyond = (
                    np.s_[b, :, length:] if len(dirty) > 6 and place == 1 else np.s_[b, length:]
                )
                dirty[place][beyond] = np.nan
        for one, other in zip(kernel(*dirty), kernel(*arguments), strict=True):
            np.testing.assert_array_equal(one, other)


# --- bits -----------------------------------------------------------------------------------


@given(
    st.integers(2, 40),
    WIDTHS,
    st.one_of(WIDTHS, st.sampled_from([257, 600, 1281])),
    *(WIDTHS, DRAWN_DTYPES, st.integers(0, 99)),
)
def test_a_row_of_a_matmul_does_not_depend_on_its_neighbours(twin, M, rows, K, N, dtype, seed):
    draw, rows = Draw(dtype, seed), min(rows, M - 1)
    a, b, bias = draw(M, K), draw(K, N), draw(N)
    for some in ((), (bias,)):
        parts = twin.matmul(a[:rows], b, *some), twin.matmul(a[rows:], b, *some)
        np.testing.assert_array_equal(twin.matmul(a, b, *some), np.concatenate(parts))


@PRECISIONS
@pytest.mark.parametrize(("N", "transposed", "few"), [(1050, False, (1, 3)), (330, True, (5, 41))])
def test_few_rows_by_a_large_matrix_have_the_bits_of_many(twin, dtype, N, transposed, few):
    """They take another way through it: a matrix from memory, or a transpose."""
    draw = Draw(dtype)
    a, b = draw(90, 1030), draw(N, 1030).T if transposed else draw(1030, N)
    for some in ((), (draw(N),)):
        whole = twin.matmul(a, b, *some)
        for rows in few:
            np.testing.assert_array_equal(twin.matmul(a[:rows], b, *some), whole[:rows])


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("N", [20, 1050])
def test_the_errors_of_sums_do_not_grow_with_all_terms(twin, rows, N):
    """One sum of all terms, in their order, would have a root mean square error of 4e-7."""
    b = np.random.default_rng(0).random((1030, N), np.float32)
    y = twin.matmul(np.ones((rows, 1030), np.float32), b)
    assert np.sqrt(np.mean((y / b.sum(axis=0, dtype=float) - 1) ** 2)) < 2e-7


@pytest.mark.parametrize("cell", NAMES)
@IN_FLOAT32
def test_a_row_of_a_sequence_has_the_bits_that_it_has_alone(twin, cell, precision):
    arguments = sequence(Draw(np.float32), cell, 9, 5, 7, 33)
    forward, row = getattr(twin, f"{cell}_forward"), slice(4, 5)
    alone = [a[row] if len(a) == 9 else a for a in arguments]
    with use_precision(precision):
        for ours, theirs in zip(forward(*alone), forward(*arguments), strict=True):
            np.testing.assert_array_equal(ours, theirs[row])


@pytest.mark.parametrize("cell", NAMES)
@pytest.mark.parametrize("B", [2, 9])
@pytest.mark.parametrize("ids", [False, True])
def test_step_by_step_has_the_bits_of_the_whole(twin, cell, ids, B):
    arguments = sequence(Draw(np.float32), cell, B, 4, 9, 70, ids, full=True)
    hs = getattr(twin, f"{cell}_forward")(*arguments)[0]
    x, states = arguments[0], arguments[1 : 3 if cell == "lstm" else 2]
    weights = arguments[1 + len(states) : -1]
    for t in range(4):
        states = getattr(twin, f"{cell}_step")(x[:, t].copy(), *states, *weights)
        states = states if cell == "lstm" else (states,)
        np.testing.assert_array_equal(states[0], hs[:, t])


def test_a_step_over_ids_builds_no_table(twin):
    """A recurrence makes its input terms for each id or for each step: whichever is less."""
    pool = pytest.importorskip("minillm._kernels._pool")
    arguments = sequence(Draw(np.float32), "lstm", 1, 1, 2, 64, ids=True)
    pool.clear()
    twin.lstm_forward(*arguments)
    before = pool.kept_bytes()
    arguments[3] = np.ones((50_000, 4 * 64), np.float32)  # W_x
    twin.lstm_forward(*arguments)
    assert pool.kept_bytes() - before < 5_000_000  # a table has 51 MB


# --- what is unlike the others --------------------------------------------------------------


@given(st.integers(1, 9), WIDTHS, st.integers(1, 12), DRAWN_DTYPES, st.integers(0, 99))
@example(20, 64, 31, np.float32, 6)  # the kernel has 32 lanes
@example(20, 64, 32, np.float64, 6)
@example(20, 1000, 40, np.float32, 6)
def test_most_probable(twin, original, N, V, count, dtype, seed):
    logits = Draw(dtype, seed)(N, V, scale=5).round(1)  # some are equal
    ids, log_p = twin.most_probable(logits, count)
    expected_ids, expected = original.most_probable(logits, count)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(log_p, expected, atol=TOLERANCE[dtype], rtol=0)
    assert (ids.dtype, log_p.dtype) == (expected_ids.dtype, expected.dtype)


@PRECISIONS
def test_most_probable_on_threads(twin, same_bits, dtype):
    same_bits(twin.most_probable, Draw(dtype)(80, 1001), 10)


@PRECISIONS
@pytest.mark.parametrize("sizes", [[1], [37, 0, 16384], [5, 100_000, 16385, 1, 40_000]])
def test_adam(twin, original, same_bits, sizes, dtype):
    """In place; and nothing behind an array, by more than a piece of work."""
    draw, behind = Draw(dtype), 20_000
    decays = list(np.linspace(1, 0.9, len(sizes)))
    starts = [[draw(size + behind) for size in sizes] for _ in range(4)]
    starts[3] = [abs(v) for v in starts[3]]

    def updated(kernels):
        arrays = [[array.copy() for array in group] for group in starts]
        views = [[x[:size] for x, size in zip(group, sizes, strict=True)] for group in arrays]
        kernels.adam_update(*views, decays, 0.8, 0.95, 1e-2, 1.3, 1e-8)
        return tuple(array for group in arrays for array in group)

    assert_same(same_bits(updated, twin), updated(original), dtype)


def test_adam_of_both_precisions_at_once(twin, original):
    def arrays():
        return [np.full(3, 0.5, np.float32), np.full((2, 2), 0.5), np.full((), 0.5, np.float32)]

    results = []
    for kernels in (twin, original):
        ps, ms, vs = arrays(), arrays(), arrays()
        kernels.adam_update(ps, arrays(), ms, vs, [1.0, 0.9, 0.8], 0.8, 0.95, 1e-2, 1.3, 1e-8)
        results.append([*ps, *ms, *vs])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        assert ours.dtype == theirs.dtype
