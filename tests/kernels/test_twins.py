"""Each Cython kernel equals its NumPy original: names, signatures, numbers."""

import inspect
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm.ops import Mask

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
DTYPES = st.sampled_from([np.float32, np.float64])
WIDTHS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 64, 65, 130]))
CELLS = ["rnn", "lstm", "gru"]


def functions(kernels):
    return {name: value for name, value in vars(kernels).items() if callable(value)}


def assert_same(twin_outputs, original_outputs, dtype):
    if not isinstance(original_outputs, tuple):
        twin_outputs, original_outputs = (twin_outputs,), (original_outputs,)
    assert len(twin_outputs) == len(original_outputs)
    for ours, theirs in zip(twin_outputs, original_outputs, strict=True):
        if theirs is None:
            assert ours is None
            continue
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype == dtype
        by_step = ours.swapaxes(1, 2) if ours.ndim == 4 else ours  # heads lie beside each other
        assert ours.flags.c_contiguous or by_step.flags.c_contiguous
        scale = max(1.0, np.abs(theirs).max(initial=0.0))
        assert np.abs(ours - theirs).max(initial=0.0) <= TOLERANCE[dtype] * scale


def sequence_case(cell, rng, B, T, I, H, dtype, lengths=None, ids=False):
    """Arguments of a forward, over floats or ids."""

    def normal(*shape, scale=1.0):
        return (scale * rng.normal(size=shape)).astype(dtype)

    G = {"rnn": 1, "lstm": 4, "gru": 3}[cell]
    if lengths is None:
        lengths = rng.integers(0, T + 1, size=B)
    states = [normal(B, H) for _ in range(2 if cell == "lstm" else 1)]
    weights = [normal(I, G * H, scale=I**-0.5), normal(H, G * H, scale=H**-0.5)]
    biases = [normal(G * H) for _ in range(2 if cell == "gru" else 1)]
    x = rng.integers(0, I, (B, T)) if ids else normal(B, T, I)
    return [x, *states, *weights, *biases, np.asarray(lengths, np.int64)]


def backward_case(cell, rng, arguments, outputs):
    """Arguments of the backward that follows a forward."""
    x, lengths = arguments[0], arguments[-1]
    states = arguments[1 : 3 if cell == "lstm" else 2]
    W_x, W_h = arguments[1 + len(states) : 3 + len(states)]
    hs, kept = outputs[0], outputs[1 + len(states) :]
    upstream = [rng.normal(size=array.shape).astype(hs.dtype) for array in (hs, *states)]
    return [*upstream, x, *states, W_x, W_h, lengths, hs, *kept]


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


@given(WIDTHS, WIDTHS, WIDTHS, DTYPES, st.tuples(st.booleans(), st.booleans()), st.integers(0, 99))
def test_matmul(twin, original, M, K, N, dtype, transposed, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(K, M) if transposed[0] else (M, K)).astype(dtype)
    b = rng.normal(size=(N, K) if transposed[1] else (K, N)).astype(dtype)
    a, b = a.T if transposed[0] else a, b.T if transposed[1] else b
    assert_same(twin.matmul(a, b), original.matmul(a, b), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("M", "K", "N"),
    [
        (2, 1500, 70),
        (6, 520, 2900),  # B comes from memory, and a row of C has several parts
        (300, 700, 300),
        (1100, 520, 40),
        (7, 3, 900),
        (4, 1100, 1000),
        (9, 1100, 1000),
    ],
)
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_matmul_beyond_one_block(twin, original, M, K, N, transposed, dtype):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(K, M) if transposed[0] else (M, K)).astype(dtype)
    b = rng.normal(size=(N, K) if transposed[1] else (K, N)).astype(dtype)
    a, b = a.T if transposed[0] else a, b.T if transposed[1] else b
    assert_same(twin.matmul(a, b), original.matmul(a, b), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matmul_of_any_strides(twin, original, dtype):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 60)).astype(dtype)[::2, ::-3]
    b = rng.normal(size=(20, 50)).astype(dtype)[::-1, 5:45:2]
    assert_same(twin.matmul(a, b), original.matmul(a, b), dtype)
    assert_same(twin.matmul(a[:, :0], b[:0]), original.matmul(a[:, :0], b[:0]), dtype)
    assert_same(twin.matmul(a[:0], b), original.matmul(a[:0], b), dtype)


@given(
    st.integers(2, 40),
    WIDTHS,
    st.one_of(WIDTHS, st.sampled_from([257, 600, 1281])),
    WIDTHS,
    DTYPES,
    st.integers(0, 99),
)
def test_a_row_of_a_matmul_does_not_depend_on_its_neighbours(twin, M, rows, K, N, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b, bias = (rng.normal(size=size).astype(dtype) for size in ((M, K), (K, N), N))
    rows = min(rows, M - 1)
    for some in ((), (bias,)):
        whole = twin.matmul(a, b, *some)
        parts = twin.matmul(a[:rows], b, *some), twin.matmul(a[rows:], b, *some)
        np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_rows_by_a_matrix_from_memory_have_the_bits_of_many(twin, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 1030)).astype(dtype), rng.normal(size=(1030, 1050)).astype(dtype)
    whole = twin.matmul(a, b)
    for rows in (1, 3):
        np.testing.assert_array_equal(twin.matmul(a[:rows], b), whole[:rows])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_rows_by_a_transpose_have_the_bits_of_many(twin, dtype):
    rng = np.random.default_rng(0)
    a, b, bias = (rng.normal(size=size).astype(dtype) for size in ((90, 1030), (330, 1030), 330))
    for some in ((), (bias,)):
        whole = twin.matmul(a, b.T, *some)
        for rows in (5, 41):
            np.testing.assert_array_equal(twin.matmul(a[:rows], b.T, *some), whole[:rows])


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("N", [20, 1050])
def test_the_errors_of_sums_do_not_grow_with_all_terms(twin, rows, N):
    """One sum of all terms, in their order, would have a root mean square error of 4e-7."""
    b = np.random.default_rng(0).random((1030, N), np.float32)
    y = twin.matmul(np.ones((rows, 1030), np.float32), b)
    assert np.sqrt(np.mean((y / b.sum(axis=0, dtype=float) - 1) ** 2)) < 2e-7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("N", "I", "O"), [(900, 90, 300), (70, 1100, 40), (600, 1024, 30)])
def test_the_gradient_of_weights_beyond_one_block(twin, original, N, I, O, dtype):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(N, I)).astype(dtype), rng.normal(size=(N, O)).astype(dtype)
    assert_same(twin.matmul(x.T, dy), original.matmul(x.T, dy), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("M", "K", "N"), [(1, 5, 3), (4, 700, 40), (90, 600, 300), (3, 0, 5)])
def test_matmul_with_a_bias(twin, original, M, K, N, dtype):
    rng = np.random.default_rng(0)
    a, b, bias = (rng.normal(size=size).astype(dtype) for size in ((M, K), (K, N), N))
    for of_b in (b, np.ascontiguousarray(b.T).T):  # with few rows, a transpose has its own kernel
        assert_same(twin.matmul(a, of_b, bias), original.matmul(a, of_b, bias), dtype)


@given(st.integers(0, 40), st.integers(1, 9), WIDTHS, DTYPES, st.integers(0, 99))
def test_embedding(twin, original, N, V, D, dtype, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, V, N)
    arguments = rng.normal(size=(N, D)).astype(dtype), ids, V
    assert_same(twin.embedding_backward(*arguments), original.embedding_backward(*arguments), dtype)


@given(st.integers(1, 9), WIDTHS, DTYPES, st.sampled_from([0.0, 0.1, 0.7]), st.integers(0, 99))
def test_cross_entropy(twin, original, N, V, dtype, smoothing, seed):
    rng = np.random.default_rng(seed)
    logits, targets = (5 * rng.normal(size=(N, V))).astype(dtype), rng.integers(0, V, N)
    outputs = original.cross_entropy_forward(logits, targets, smoothing)
    assert_same(twin.cross_entropy_forward(logits, targets, smoothing), outputs, dtype)
    arguments = outputs[1], targets, rng.normal(size=N).astype(dtype), smoothing
    assert_same(
        twin.cross_entropy_backward(*arguments), original.cross_entropy_backward(*arguments), dtype
    )


@given(st.integers(1, 9), WIDTHS, st.integers(1, 12), DTYPES, st.integers(0, 99))
def test_most_probable(twin, original, N, V, count, dtype, seed):
    logits = (5 * np.random.default_rng(seed).normal(size=(N, V))).astype(dtype).round(1)
    ids, log_p = twin.most_probable(logits, count)
    expected_ids, expected = original.most_probable(logits, count)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(log_p, expected, atol=TOLERANCE[dtype], rtol=0)
    assert (ids.dtype, log_p.dtype) == (expected_ids.dtype, expected.dtype)


def test_cross_entropy_of_extreme_logits(twin, original):
    logits = np.array([[1e4, -1e4, 0], [-np.inf, 0, 1], [np.nan, 0, 1], [-80, -80, -80]])
    logits = np.tile(logits, (1, 7)).astype(np.float32)
    targets = np.array([3, 1, 2, 20])
    with np.errstate(invalid="ignore"):
        ours, theirs = (
            kernels.cross_entropy_forward(logits, targets, 0.0) for kernels in (twin, original)
        )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["gelu", "exact_gelu"])
@pytest.mark.parametrize("size", [0, 1, 37, 8192, 100_001])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu(twin, original, form, size, dtype):
    rng = np.random.default_rng(size)
    x, dy = (3 * rng.normal(size=size)).astype(dtype), rng.normal(size=size).astype(dtype)
    ours, theirs = (
        (getattr(kernels, f"{form}_forward"), getattr(kernels, f"{form}_backward"))
        for kernels in (twin, original)
    )
    assert_same(ours[0](x), theirs[0](x), dtype)
    assert_same(ours[1](dy, x), theirs[1](dy, x), dtype)


@pytest.mark.parametrize("form", ["gelu", "exact_gelu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_far_out(twin, original, form, dtype):
    """The identity on the right, zero on the left; NaN stays where it is."""
    x = np.array([0, 50, -50, 1e6, -1e6, np.nan, 1], dtype)
    for kernels in (twin, original):
        y = getattr(kernels, f"{form}_forward")(x)
        dx = getattr(kernels, f"{form}_backward")(np.ones_like(x), x)
        np.testing.assert_allclose(y[:6], [0, 50, 0, 1e6, 0, np.nan], atol=1e-30)
        np.testing.assert_allclose(dx[:6], [0.5, 1, 0, 1, 0, np.nan], atol=1e-30)
        assert np.isfinite([y[6], dx[6]]).all()


def layer_norm_case(rng, N, D, dtype):
    """x, gain and bias."""
    sizes = (N, D), D, D
    return [(3 * rng.normal(size=size) + 1).astype(dtype) for size in sizes]


@given(st.integers(0, 200), WIDTHS, DTYPES, st.integers(0, 99))
def test_layer_norm(twin, original, N, D, dtype, seed):
    rng = np.random.default_rng(seed)
    x, gain, bias = layer_norm_case(rng, N, D, dtype)
    eps = 0.1  # where D is small a variance may be too, and 1 / sqrt would enlarge what rounds
    y, *kept = original.layer_norm_forward(x, gain, bias, eps)
    assert_same(twin.layer_norm_forward(x, gain, bias, eps), (y, *kept), dtype)
    arguments = rng.normal(size=(N, D)).astype(dtype), x, gain, *kept
    assert_same(
        twin.layer_norm_backward(*arguments), original.layer_norm_backward(*arguments), dtype
    )


@given(st.integers(0, 200), WIDTHS, DTYPES, st.integers(0, 99))
def test_rms_norm(twin, original, N, D, dtype, seed):
    rng = np.random.default_rng(seed)
    x, gain, _ = layer_norm_case(rng, N, D, dtype)
    dy = rng.normal(size=(N, D)).astype(dtype)
    y, inverse_rms = original.rms_norm_forward(x, gain, 0.1)
    assert_same(twin.rms_norm_forward(x, gain, 0.1), (y, inverse_rms), dtype)
    arguments = dy, x, gain, inverse_rms
    assert_same(twin.rms_norm_backward(*arguments), original.rms_norm_backward(*arguments), dtype)


@given(st.integers(0, 200), WIDTHS, DTYPES, st.integers(0, 99))
def test_swiglu(twin, original, N, F, dtype, seed):
    rng = np.random.default_rng(seed)
    x, dy = 3 * rng.normal(size=(N, 2 * F)).astype(dtype), rng.normal(size=(N, F)).astype(dtype)
    assert_same(twin.swiglu_forward(x), original.swiglu_forward(x), dtype)
    assert_same(twin.swiglu_backward(dy, x), original.swiglu_backward(dy, x), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_swiglu_far_out(twin, original, dtype):
    """A gate that is far open or shut; NaN stays where it is."""
    gate = np.array([[50, -50, 1e6, -1e6, np.nan, 1]], dtype)
    x = np.concatenate([gate, np.full_like(gate, 2)], axis=1)
    for kernels in (twin, original):
        y, dx = kernels.swiglu_forward(x), kernels.swiglu_backward(np.ones_like(gate), x)
        np.testing.assert_allclose(y[0, :5], [100, 0, 2e6, 0, np.nan], atol=1e-19)
        np.testing.assert_allclose(dx[0, :5], [2, 0, 2, 0, np.nan], atol=1e-18)
        np.testing.assert_allclose(dx[0, 6:11], [50, 0, 1e6, 0, np.nan], atol=1e-19)


@given(st.integers(0, 3), st.integers(0, 4), WIDTHS, WIDTHS, DTYPES, st.integers(0, 99))
def test_rotary(twin, original, B, N, T, half, dtype, seed):
    """Heads that lie beside each other, as a layer has them, or one after the other."""
    rng = np.random.default_rng(seed)
    cos, sin = rng.normal(size=(2, B, T, half)).astype(dtype)
    joined = rng.normal(size=(B, T, N, 2 * half + 3)).astype(dtype)[..., 1 : 2 * half + 1]
    for x in (joined.swapaxes(1, 2), np.ascontiguousarray(joined.swapaxes(1, 2))):
        arguments = x, cos, sin
        found, expected = (kernels.rotary_rotation(*arguments) for kernels in (twin, original))
        assert_same(found, expected, dtype)


ATTENTIONS = ["additive", "scaled", "causal", "windowed"]


def attention_case(kind, rng, B, T, S, D, E, dtype):
    """The kernels' name, the forward's arguments, and the backward's from the outputs."""

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    lengths = rng.integers(0, S + 1, B)
    grouped = kind in ("scaled", "causal", "windowed")  # four heads of queries, two of keys
    heads, shared = ((4,), (2,)) if grouped else ((), ())
    inputs = [normal(B, *heads, T, D), normal(B, *shared, S, D), normal(B, *shared, S, E)]
    if kind == "additive":
        inputs.append(normal(D))
    if heads:
        window = int(rng.integers(1, S + T + 1)) if kind == "windowed" else None
        sinks = int(rng.integers(0, S + 1)) if kind == "windowed" else 0
        start = rng.integers(-2, S + 1, B)
        inputs.append(Mask(kind != "scaled", lengths, start, window, sinks))
    else:
        inputs.append(lengths)
    upstream = [normal(B, *heads, T, E)] + ([] if heads else [normal(B, T, S)])
    name = "scaled" if heads else kind
    return f"{name}_attention", inputs, lambda outputs: [*upstream, *inputs, outputs[1]]


@pytest.mark.parametrize("kind", ATTENTIONS)
@given(st.integers(1, 4), WIDTHS, WIDTHS, WIDTHS, st.integers(1, 20), DTYPES, st.integers(0, 99))
def test_attention(twin, original, kind, B, T, S, D, E, dtype, seed):
    rng = np.random.default_rng(seed)
    name, arguments, backward_arguments = attention_case(kind, rng, B, T, S, D, E, dtype)
    outputs = getattr(original, f"{name}_forward")(*arguments)
    assert_same(getattr(twin, f"{name}_forward")(*arguments), outputs, dtype)
    arguments, backward = backward_arguments(outputs), f"{name}_backward"
    assert_same(getattr(twin, backward)(*arguments), getattr(original, backward)(*arguments), dtype)


@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize("T", [3, 70])
def test_attention_never_reads_beyond_a_row(twin, kind, T):
    rng = np.random.default_rng(0)
    name, clean, backward_arguments = attention_case(kind, rng, 3, T, 80, 9, 5, np.float64)
    dirty = [a.copy() if isinstance(a, np.ndarray) else a for a in clean]
    lengths = clean[4] if kind == "additive" else clean[3].lengths
    for b, length in enumerate(lengths):
        for x in dirty[1:3]:  # keys and values
            x[b, ..., length:, :] = np.nan
    forward, backward = getattr(twin, f"{name}_forward"), getattr(twin, f"{name}_backward")
    outputs = forward(*clean)
    for ours, theirs in zip(forward(*dirty), outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    arguments = backward_arguments(outputs)
    upstream = [dy.copy() for dy in arguments[: len(arguments) - 1 - len(clean)]]
    for dweights in upstream[1:]:
        for b, length in enumerate(lengths):
            dweights[b, :, length:] = np.nan
    soiled = [*upstream, *dirty, arguments[-1]]
    for ours, theirs in zip(backward(*soiled), backward(*arguments), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [[1], [37, 0, 16384], [5, 100_000, 16385, 1, 40_000]])
def test_adam(twin, original, sizes, dtype):
    rng = np.random.default_rng(len(sizes))
    behind = 20_000  # numbers that are not theirs: more than a piece
    decays = list(np.linspace(1, 0.9, len(sizes)))
    starts = [[rng.normal(size=size + behind).astype(dtype) for size in sizes] for _ in range(3)]
    starts.append([rng.random(size + behind).astype(dtype) for size in sizes])  # v: positive
    results = []
    for kernels in (twin, original):
        arrays = [[array.copy() for array in group] for group in starts]
        views = [[x[:size] for x, size in zip(group, sizes, strict=True)] for group in arrays]
        kernels.adam_update(*views, decays, 0.8, 0.95, 1e-2, 1.3, 1e-8)
        results.append(tuple(array for group in arrays for array in group))
    assert_same(*results, dtype)


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


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("ids", [False, True])
@given(
    st.integers(1, 20), st.integers(1, 5), WIDTHS, WIDTHS, DTYPES, st.booleans(), st.integers(0, 99)
)
def test_recurrences(twin, original, cell, ids, B, T, I, H, dtype, full, seed):
    rng = np.random.default_rng(seed)
    arguments = sequence_case(cell, rng, B, T, I, H, dtype, [T] * B if full else None, ids)
    outputs = getattr(original, f"{cell}_forward")(*arguments)
    assert_same(getattr(twin, f"{cell}_forward")(*arguments), outputs, dtype)

    arguments = backward_case(cell, rng, arguments, outputs)
    outputs = getattr(original, f"{cell}_backward")(*arguments)
    assert_same(getattr(twin, f"{cell}_backward")(*arguments), outputs, dtype)


@pytest.mark.parametrize("cell", CELLS)
@given(st.integers(1, 20), WIDTHS, WIDTHS, DTYPES, st.booleans(), st.integers(0, 99))
def test_single_steps(twin, original, cell, B, I, H, dtype, ids, seed):
    rng = np.random.default_rng(seed)
    arguments = sequence_case(cell, rng, B, 1, I, H, dtype, ids=ids)[:-1]
    arguments[0] = arguments[0][:, 0].copy()
    step = f"{cell}_step"
    assert_same(getattr(twin, step)(*arguments), getattr(original, step)(*arguments), dtype)


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_has_the_bits_that_it_has_alone(twin, cell):
    rng = np.random.default_rng(0)
    arguments = sequence_case(cell, rng, 9, 5, 7, 33, np.float32)
    outputs = getattr(twin, f"{cell}_forward")(*arguments)
    row = slice(4, 5)
    alone = [a[row] if len(a) == 9 else a for a in arguments]
    for ours, theirs in zip(getattr(twin, f"{cell}_forward")(*alone), outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs[row])


def test_several_threads_at_once(twin):
    """Each Python thread gets its own results, to the bit."""
    cases = [
        sequence_case("lstm", np.random.default_rng(i), 8, 12, 20, 40, np.float32) for i in range(4)
    ]
    alone = [twin.lstm_forward(*case) for case in cases]
    answers = [[] for _ in cases]

    def run(i):
        for _ in range(20):
            answers[i].append(twin.lstm_forward(*cases[i]))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, actual in zip(alone, answers, strict=True):
        assert len(actual) == 20
        for outputs in actual:
            for ours, theirs in zip(outputs, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("B", [2, 9])
@pytest.mark.parametrize("ids", [False, True])
def test_step_by_step_has_the_bits_of_the_whole(twin, cell, ids, B):
    rng = np.random.default_rng(0)
    arguments = sequence_case(cell, rng, B, 4, 9, 70, np.float32, [4] * B, ids)
    hs = getattr(twin, f"{cell}_forward")(*arguments)[0]
    x, states = arguments[0], arguments[1 : 3 if cell == "lstm" else 2]
    weights = arguments[1 + len(states) : -1]
    for t in range(4):
        states = getattr(twin, f"{cell}_step")(x[:, t].copy(), *states, *weights)
        states = states if cell == "lstm" else (states,)
        np.testing.assert_array_equal(states[0], hs[:, t])
