"""The same bits whatever the number of threads."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minillm._kernels import kernels_info, use_kernels, use_threads
from minillm.errors import InputError

from .test_twins import (
    ATTENTIONS,
    CELLS,
    assert_same,
    attention_case,
    backward_case,
    layer_norm_case,
    sequence_case,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("M", "K", "N"),
    [(3, 400, 500), (16, 300, 130), (200, 300, 170), (2000, 40, 30), (65, 900, 65)],
)
def test_matmul(twin, same_bits, M, K, N, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    bias = rng.normal(size=N).astype(dtype)
    for arguments in (
        (a, b),
        (a, b, bias),
        (np.asfortranarray(a), b),
        (a, np.asfortranarray(b), bias),
    ):
        same_bits(twin.matmul, *arguments, counts=(2, 3, 4))  # 4 cut some along both axes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("N", "I", "O"), [(300, 200, 170), (40, 2000, 30), (900, 65, 500)])
def test_the_gradient_of_weights(twin, same_bits, N, I, O, dtype):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(N, I)).astype(dtype), rng.normal(size=(N, O)).astype(dtype)
    same_bits(twin.matmul, x.T, dy, counts=(2, 3, 4))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("ids", [False, True])
def test_recurrences(twin, same_bits, cell, ids):
    rng = np.random.default_rng(0)
    forward, backward = getattr(twin, f"{cell}_forward"), getattr(twin, f"{cell}_backward")
    arguments = sequence_case(cell, rng, 11, 24, 40, 70, np.float32, ids=ids)
    outputs = same_bits(forward, *arguments)
    same_bits(backward, *backward_case(cell, rng, arguments, outputs))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("N", "D"), [(1000, 70), (129, 512), (1, 60_000), (60_000, 1)])
def test_layer_norm(twin, same_bits, N, D, dtype):
    x, gain, bias = layer_norm_case(np.random.default_rng(0), N, D, dtype)
    outputs = same_bits(twin.layer_norm_forward, x, gain, bias, 1e-5)
    same_bits(twin.layer_norm_backward, x[::-1].copy(), x, gain, *outputs[1:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rms_norm(twin, same_bits, dtype):
    x, gain, _ = layer_norm_case(np.random.default_rng(0), 1000, 70, dtype)
    h = x[::-1].copy()
    _, inverse_rms = same_bits(twin.rms_norm_forward, x, gain, 1e-5)
    same_bits(twin.rms_norm_backward, h, x, gain, inverse_rms)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_swiglu_and_rotary(twin, same_bits, dtype):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(900, 140)).astype(dtype), rng.normal(size=(900, 70)).astype(dtype)
    same_bits(twin.swiglu_forward, x)
    same_bits(twin.swiglu_backward, dy, x)
    heads, angles = x.reshape(3, 4, 75, 140), rng.normal(size=(3, 75, 70)).astype(dtype)
    same_bits(twin.rotary_rotation, heads, angles, angles)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_optimiser(twin, same_bits, dtype):
    rng = np.random.default_rng(0)
    starts = [rng.random(size).astype(dtype) for size in (100_000, 3, 40_000)]

    def updated():
        ps, gs, ms, vs = ([start.copy() for start in starts] for _ in range(4))
        twin.adam_update(ps, gs, ms, vs, [0.9, 1.0, 0.9], 0.8, 0.95, 1e-2, 1.3, 1e-8)
        return [*ps, *ms, *vs]

    same_bits(updated)


@pytest.mark.parametrize("form", ["gelu", "exact_gelu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu(twin, same_bits, form, dtype):
    x = np.random.default_rng(0).normal(size=50_001).astype(dtype)
    same_bits(getattr(twin, f"{form}_forward"), x)
    same_bits(getattr(twin, f"{form}_backward"), x[::-1].copy(), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("N", "V", "D"), [(900, 1000, 70), (5000, 2, 33), (10, 60_000, 2), (0, 7, 20_000)]
)
def test_embedding(twin, original, same_bits, N, V, D, dtype):
    rng = np.random.default_rng(0)
    dy = rng.normal(size=(N, D)).astype(dtype)
    ids = rng.integers(0, V, N)
    dE = same_bits(twin.embedding_backward, dy, ids, V, counts=(2, 3, 5))
    assert_same(dE, original.embedding_backward(dy, ids, V), dtype)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention(twin, same_bits, kind):
    rng = np.random.default_rng(0)
    name, arguments, backward_arguments = attention_case(kind, rng, 5, 70, 90, 20, 30, np.float32)
    outputs = same_bits(getattr(twin, f"{name}_forward"), *arguments)
    same_bits(getattr(twin, f"{name}_backward"), *backward_arguments(outputs))


def cases_of_many_kernels(twin):
    """Functions without arguments, at sizes at which kernels use several threads."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 150, 150)).astype(np.float32)
    recurrence = sequence_case("lstm", rng, 6, 8, 30, 40, np.float32)
    name, attention, _ = attention_case("scaled", rng, 4, 40, 40, 16, 16, np.float32)
    x, gain, bias = layer_norm_case(rng, 900, 70, np.float32)
    return [
        lambda: [twin.matmul(a, b)],
        lambda: twin.lstm_forward(*recurrence),
        lambda: getattr(twin, f"{name}_forward")(*attention),
        lambda: twin.layer_norm_forward(x, gain, bias, 1e-5),
    ]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_python_threads_that_run_kernels_at_once(twin, with_threads, count):
    """One has the team, the others work alone: each gets the bits that it gets by itself."""
    cases = cases_of_many_kernels(twin)
    expected = [with_threads(1, case) for case in cases]

    def run(first):
        for i in range(first, first + 40):
            results = with_threads(count, cases[i % len(cases)])
            for ours, theirs in zip(results, expected[i % len(cases)], strict=True):
                np.testing.assert_array_equal(ours, theirs)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))


def test_threads_are_those_of_the_innermost_block_of_this_python_thread(twin):
    def seen():
        with use_kernels(twin.name):
            return kernels_info()["threads"]

    usual = seen()
    with use_threads(3):
        assert seen() == 3
        with use_threads(np.int64(2)):
            assert seen() == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(seen).result() == usual
        assert seen() == 3
        with use_kernels("numpy"):
            assert kernels_info()["threads"] == 1
    assert seen() == usual


@pytest.mark.parametrize("count", [0, -1, 2.0, "2", None, 10**7, 10**100])
def test_an_impossible_number_of_threads_is_refused(count):
    with pytest.raises(InputError, match=r"threads: expected .* 1 to 1000000; found") as caught:
        use_threads(count).__enter__()
    assert len(str(caught.value)) < 200


def threads_of_process():
    """Their number, as Linux counts them."""
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) if os.path.exists(tasks) else None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own(twin, with_threads):
    """Threads do not survive a fork.  A child and its child get the same bits."""
    cases = cases_of_many_kernels(twin)
    expected = [with_threads(3, case) for case in cases]

    def same():
        for case, theirs in zip(cases, expected, strict=True):
            for ours, other in zip(with_threads(3, case), theirs, strict=True):
                np.testing.assert_array_equal(ours, other)

    def in_child(then):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(20)  # ends a child that waits for ever
                same()
                assert threads_of_process() in (3, None)
                status = then()
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert in_child(lambda: in_child(lambda: 0)) == 0
    same()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_most_probable_ids(twin, same_bits, dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(80, 1001)).astype(dtype)
    same_bits(twin.most_probable, logits, 10)
