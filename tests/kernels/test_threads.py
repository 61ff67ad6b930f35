"""The same bits whatever the number of threads."""

import os
import signal

import numpy as np
import pytest

from minillm._kernels import kernels_info, use_kernels

from .test_twins import (
    ATTENTIONS,
    CELLS,
    assert_same,
    attention_case,
    backward_case,
    layer_norm_case,
    sequence_case,
)

cpu = pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("M", "K", "N"), [(3, 400, 500), (200, 300, 170), (2000, 40, 30), (65, 900, 65)]
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
def test_add_norm(twin, same_bits, dtype):
    x, gain, bias = layer_norm_case(np.random.default_rng(0), 1000, 70, dtype)
    h = x[::-1].copy()
    outputs = same_bits(twin.add_norm_forward, x, h, gain, bias, 1e-5)
    same_bits(twin.add_norm_backward, x, h, outputs[0], gain, *outputs[2:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("M", "N"), [(1000, 70), (300, 513), (60_000, 1)])
def test_sum_of_rows(twin, same_bits, M, N, dtype):
    same_bits(twin.sum_of_rows, np.random.default_rng(0).normal(size=(M, N)).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_optimiser(twin, same_bits, dtype):
    rng = np.random.default_rng(0)
    starts = [rng.random(size).astype(dtype) for size in (100_000, 3, 40_000)]

    def updated():
        ps, gs, ms, vs = ([start.copy() for start in starts] for _ in range(4))
        twin.scale(gs, 0.7)
        total = twin.sum_of_squares(gs)
        twin.adam_update(ps, gs, ms, vs, [0.9, 1.0, 0.9], 0.8, 0.95, 1e-2, 1.3, 1e-8)
        return [*ps, *gs, *ms, *vs, total]

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
    E, dy = rng.normal(size=(V, D)).astype(dtype), rng.normal(size=(N, D)).astype(dtype)
    ids = rng.integers(0, V, N)
    dE = same_bits(twin.embedding_backward, dy, ids, V, counts=(2, 3, 5))
    assert_same(dE, original.embedding_backward(dy, ids, V), dtype)
    np.testing.assert_array_equal(same_bits(twin.embedding_forward, E, ids), E[ids])


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention(twin, same_bits, kind):
    rng = np.random.default_rng(0)
    name, arguments, backward_arguments = attention_case(kind, rng, 5, 70, 90, 20, 30, np.float32)
    outputs = same_bits(getattr(twin, f"{name}_forward"), *arguments)
    same_bits(getattr(twin, f"{name}_backward"), *backward_arguments(outputs))


def test_threads_are_a_limit(with_threads):
    if not cpu.openmp():
        pytest.skip("built without OpenMP")
    assert with_threads(1, cpu.thread_count) == 1
    assert with_threads(3, cpu.thread_count) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_works(twin):
    """OpenMP's threads do not survive a fork, and so the child runs on one.

    That holds even if it asks for more, as threadpoolctl and joblib's workers do.
    """
    a = np.ones((300, 300), np.float32)
    twin.matmul(a, a)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that waits for ever
        cpu.set_threads(3)
        os._exit(0 if twin.matmul(a, a)[0, 0] == 300 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_info_tells_the_threads(twin, with_threads):
    with use_kernels(twin.name):
        for count in (1, 3) if cpu.openmp() else (1,):
            assert with_threads(count, kernels_info)["threads"] == count
    with use_kernels("numpy"):
        assert with_threads(3, kernels_info)["threads"] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_step_of_translating_needs(twin, same_bits, dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(80, 1001)).astype(dtype)
    query, keys, values = rng.normal(size=(3, 80, 4, 16)).astype(dtype)
    same_bits(twin.attend_to_rows, query, keys, values, rng.integers(0, 80, (80, 60)))
    same_bits(twin.most_probable, logits, 10)
