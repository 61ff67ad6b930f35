"""Data parallelism: n ranks do what one process does with the whole batch."""

import json
from pathlib import Path

import numpy as np
import parallel_job
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpiexec import run

from minillm import mpi
from minillm.data.masking import Masking, Passages
from minillm.errors import DivergedError
from minillm.training import parallel

JOB = Path(parallel_job.__file__)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a training that one process has begun."""
    folder = tmp_path_factory.mktemp("begun")
    parallel_job.begin(folder)
    return folder


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.deep)])
def together(request, begun):
    """The results of each rank of a job: of few tasks, or (three ranks) of all."""
    status, _, stderr = run(request.param, JOB, begun, *["all"] * (request.param == 3))
    assert (status, stderr) == (0, "")
    return [json.loads((begun / f"{r}.json").read_text()) for r in range(request.param)]


@pytest.fixture(scope="module")
def alone(begun, together):
    """The results of one process."""
    tasks = [make for make in parallel_job.TASKS if make.__name__ in together[0]]
    return parallel_job.all_results(begun, tasks)


def test_the_steps_are_those_of_one_process(alone, together):
    for name in alone.keys() - {"float32", "dropout", "resumed", "drawn"}:  # see below
        one = alone[name]
        assert len(one["loss"]) == parallel_job.STEPS
        for found in (results[name] for results in together):
            np.testing.assert_allclose(found["loss"], one["loss"], rtol=0, atol=1e-9)
            np.testing.assert_allclose(found["gradient_norm"], one["gradient_norm"], rtol=1e-7)
            assert found["tokens"] == one["tokens"]
            assert found["best_loss"] == pytest.approx(one["best_loss"], abs=1e-9)
            for rows, expected in zip(found["carried"], one["carried"], strict=True):
                np.testing.assert_allclose(rows, expected, atol=1e-7)


def test_what_one_process_began_is_resumed_by_others(alone, together):
    rest = alone["language_model"]["loss"][parallel_job.STOP :]
    assert alone["resumed"]["loss"] == rest
    for found in together:
        np.testing.assert_allclose(found["resumed"]["loss"], rest, rtol=0, atol=1e-9)
        for rows, expected in zip(
            found["resumed"]["carried"], alone["language_model"]["carried"], strict=True
        ):
            np.testing.assert_allclose(rows, expected, atol=1e-7)


def test_clipping_comes_after_the_sum(alone):
    """Else the norms of three clipped gradients would be summed, which the losses above show."""
    assert min(alone["clipped"]["gradient_norm"]) > 1.5 * 0.01


def test_replicas_have_the_same_bits(together):
    for name in together[0]:
        if name != "drawn":
            assert all(found[name] == together[0][name] for found in together), name


def test_float32_is_near_one_process(alone, together):
    np.testing.assert_allclose(
        together[0]["float32"]["loss"], alone["float32"]["loss"], rtol=0, atol=1e-3
    )


def test_each_rank_has_its_own_dropout(together):
    drawn = [found["drawn"] for found in together]
    assert len({number for found in drawn for own in found["own"] for number in own}) == 6 * len(
        drawn
    )
    assert len({found["common"] for found in drawn}) == 1  # the data are drawn alike


# --- by hand, without MPI ------------------------------------------------------------------------


def pretend(monkeypatch, rank, size):
    ranks = mpi.Ranks()
    ranks.rank, ranks.size = rank, size
    monkeypatch.setattr(parallel, "ranks", lambda: ranks)
    return ranks


@given(B=st.integers(1, 12), size=st.integers(1, 6))
def test_each_row_counts_once(B, size):
    with pytest.MonkeyPatch.context() as monkeypatch:
        rows, parts = [], []
        array = np.random.default_rng(0).random((B, 2))
        for rank in range(size):
            pretend(monkeypatch, rank, size)
            own, counts = parallel.own_rows(B)
            assert len(range(B)[own]) >= 1
            rows += counts * list(range(B)[own])
            parts.append({"h": array[own]})
        assert sorted(rows) == list(range(B))
        monkeypatch.setattr(mpi.Ranks, "gather", lambda self, value: parts)
        np.testing.assert_array_equal(parallel.all_rows(parts[-1], B)["h"], array)


@given(size=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_hidden_tokens_of_a_batch_are_dealt_with_their_rows(size, seed):
    passages = Passages(np.arange(3, 200) % 8 + 3, 5, 12, 0, 1, seed=seed)
    batch = Masking(2, np.arange(11) > 2).hide(passages.next(), np.random.default_rng(seed))
    parts = [batch.part(slice(rank, None, size)) for rank in range(min(size, 5))]
    for rank, part in enumerate(parts):
        rows = range(5)[rank::size]
        wanted = [batch.targets[np.nonzero(batch.places)[0] == row] for row in rows]
        np.testing.assert_array_equal(part.targets, np.concatenate(wanted))
        np.testing.assert_array_equal(part.ids, batch.ids[rank::size])


def test_one_rank_pays_nothing(monkeypatch):
    pretend(monkeypatch, 0, 1)
    rng, grads = np.random.default_rng(0), {"w": np.ones(3)}
    assert parallel.own_generator(rng) is rng
    assert parallel.mean_over_ranks(2.0, grads, 7) == (2.0, grads, 7)
    assert parallel.mean_over_ranks(2.0, grads, 7)[1] is grads


def test_replicas_that_differ_are_named(monkeypatch):
    ranks = pretend(monkeypatch, 0, 3)
    monkeypatch.setattr(ranks, "gather", lambda checksum: [checksum, checksum + 1, checksum])
    with pytest.raises(DivergedError, match="rank 1 no longer has the weights of rank 0"):
        parallel.check_replicas({"w": np.ones(3)})
    monkeypatch.setattr(ranks, "gather", lambda checksum: [checksum] * 3)
    parallel.check_replicas({"w": np.ones(3)})
