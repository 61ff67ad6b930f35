"""The race of own functions: turns, verdicts on times that are made up, and files."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_times import LIMITS, kept, times

from benchmarks import roofline, verdicts
from benchmarks.files import load
from benchmarks.machine import machine
from minillm.errors import InputError
from minillm.timing import contest, race
from minillm.timing.results import Cell, Limits, Results

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def here():
    return machine()


@pytest.fixture
def quick(monkeypatch):
    """Limits that are not measured."""
    monkeypatch.setattr(contest, "limits", lambda count: replace(LIMITS, threads=count))


# --- verdicts -------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [5, 9, 40])
def test_of_one_distribution_nearly_all_show_no_difference(rounds, monkeypatch):
    monkeypatch.setattr(verdicts, "RESAMPLES", 400)
    words = []
    for seed in range(100):
        a, b = (times(2 * seed + n, rounds, NumPy=2.0, Cython=1.0) for n in (0, 1))
        words.append(verdicts.verdict(a, b, "Cython").word)
    assert sum(word == "no difference" for word in words) >= 95, words


@given(seed=SEEDS, rounds=st.integers(5, 50), factor=st.floats(1.25, 8), up=st.booleans())
def test_a_real_difference_is_found_in_both_directions(seed, rounds, factor, up):
    factor = factor if up else 1 / factor
    a = times(seed, rounds, 0.01, NumPy=2.0, Cython=1.0)
    b = times(seed + 1, rounds, 0.01, NumPy=2.0, Cython=factor)
    there, back = verdicts.verdict(a, b, "Cython"), verdicts.verdict(b, a, "Cython")
    assert [there.word, back.word] == (["worse", "better"] if up else ["better", "worse"])
    assert there.low <= there.ratio <= there.high
    assert there.ratio == pytest.approx(factor, rel=0.1)
    assert there.ratio * back.ratio == pytest.approx(1)


@given(seed=SEEDS, rounds=st.integers(5, 50), factor=st.floats(1.25, 8))
def test_a_slower_machine_is_not_the_code(seed, rounds, factor):
    a = times(seed, rounds, 0.005, NumPy=2.0, Cython=1.0)
    b = times(seed + 1, rounds, 0.005, NumPy=2.0 * factor, Cython=factor)
    assert verdicts.verdict(a, b, "Cython").word == "no difference: NumPy changed, too"


@given(seed=SEEDS, factor=st.floats(1.25, 4))
def test_slower_but_less_so_than_the_original_is_not_worse(seed, factor):
    a = times(seed, 9, 0.005, NumPy=2.0, Cython=1.0)
    b = times(seed + 1, 9, 0.005, NumPy=2.0 * factor**2, Cython=factor)
    assert verdicts.verdict(a, b, "Cython").word == "no difference: NumPy changed, too"


def test_a_difference_too_small_and_rounds_too_few(here):
    a = times(0, 50, 0.001, NumPy=2.0, Cython=1.0)
    b = times(1, 50, 0.001, NumPy=2.0, Cython=1.02)
    found = verdicts.verdict(a, b, "Cython")
    assert found.low > 1
    assert found.word == "no difference"
    few = times(1, 4, 0.001, NumPy=2.0, Cython=2.0)
    assert verdicts.verdict(a, few, "Cython").word == "too few rounds"


def test_times_of_two_machines_are_refused(here, tmp_path):
    cell = times(0, 9, NumPy=2.0, Cython=1.0)
    paths = kept(here, cell, folder=tmp_path), kept(here, cell, folder=tmp_path, processor="other")
    with pytest.raises(InputError, match=r"expected results of one machine, found .* and other"):
        verdicts.compare(*map(load, paths))


# --- files ----------------------------------------------------------------------------------


@given(
    seconds=st.dictionaries(
        st.text(min_size=1), st.lists(st.floats(1e-9, 1e3), min_size=3, max_size=3), min_size=1
    ),
    size=st.none() | st.integers(1, 1000),
    work=st.floats(0, 1e15),
)
@settings(max_examples=10)
def test_a_file_is_read_as_it_was_written(seconds, size, work, here, tmp_path_factory):
    cell = Cell(1, "kind", "1 x 2", work, work, seconds, size)
    path = kept(here, cell, folder=tmp_path_factory.mktemp("results"))
    results = load(path)
    assert results.cells == [cell]
    assert results.limits == {1: LIMITS}
    assert results.machine == json.loads(json.dumps(here))


def test_nothing_is_written_over(here, tmp_path):
    cell = times(0, 5, NumPy=1.0)
    paths = [kept(here, cell, folder=tmp_path) for _ in range(3)]  # within a second
    assert len(set(paths)) == 3
    assert all(load(path).cells == [cell] for path in paths)


@given(data=st.data())
def test_a_damaged_file_is_told_in_a_line(data, here, tmp_path_factory):
    path = kept(here, times(0, 5, NumPy=1.0), folder=tmp_path_factory.mktemp("results"))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    message = ""
    try:
        results = load(path)
        verdicts.compare(results, results)
    except InputError as error:
        message = str(error)
    assert not message or re.fullmatch(rf"{re.escape(str(path))}.*: expected .*, found .*", message)


def test_a_cell_needs_times_and_limits(here, tmp_path):
    cell = times(0, 5, NumPy=1.0, Cython=1.0)
    ragged = replace(cell, seconds={"NumPy": [1.0, 2.0], "Cython": [1.0]})
    for bad in (ragged, replace(cell, seconds={"NumPy": [-1.0]}), replace(cell, flops=-1.0)):
        with pytest.raises(InputError, match="line 3: expected a record of limits or a cell"):
            load(kept(here, bad, folder=tmp_path))
    with pytest.raises(InputError, match="expected the limits on 2 threads"):
        load(kept(here, replace(cell, threads=2), folder=tmp_path))


@given(st.permutations([1e11, 2e11, 3e11]), st.permutations([1e10, 2e10, 3e10]))
def test_what_disturbs_a_measure_of_the_limits_does_not_count(flops, bytes):
    results = Results({})
    for each in zip(flops, bytes, strict=True):
        results.add(Limits(2, *each))
    assert results.limits == {2: Limits(2, 3e11, 3e10)}


# --- the race -------------------------------------------------------------------------------


def run(contestants, sizes=(3,), arguments=np.ones, **options):
    return race(contestants, sizes, arguments, seconds=0.0, **options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: 2 * x + 1e-3, r"at most 0\.0001 times the largest number, 2; found 0\.001"),
        (lambda x: 2 * x[:-1], r"expected float64 \(3,\), found float64 \(2,\)"),
        (lambda x: np.float32(2) * x.astype(np.float32), r"found float32 \(3,\)"),
        (lambda x: 2 * x * [1, 1, np.nan], "found nan"),
        (lambda x: 2 * x * [1, 1, np.inf], "found inf"),
        (lambda x: (2 * x, 1.0), r"found float64 \(3,\), a number"),
    ],
)
def test_contestants_that_disagree_end_the_race(wrong, message, quick):
    with pytest.raises(InputError, match=message) as caught:
        run({"NumPy": lambda x: 2 * x, "twin": wrong}, name="twice")
    assert str(caught.value).startswith("twice (3): twin and NumPy disagree: expected ")
    assert "\n" not in str(caught.value)


def test_small_numbers_are_compared_as_large_ones_are(quick):
    with pytest.raises(InputError, match="disagree"):
        run({"NumPy": lambda x: 1e-9 * x, "twin": lambda x: 2e-9 * x})


def test_each_contestant_has_arguments_of_its_own(quick):
    def change(x):
        x += 1
        return x.copy()

    run({"in place": change, "twin": lambda x: x + 1}, sizes=(2, 3))
    for value in (np.nan, np.inf, 0.0):  # the same numbers agree, whatever they are
        run({"NumPy": lambda x, v=value: x * v, "twin": lambda x, v=value: x * v})


def test_the_slow_are_left_out_at_larger_sizes(quick, monkeypatch):
    monkeypatch.setattr(contest, "time_once", lambda run, *_: 1.0 if run.func is slow else 0.001)

    def slow(x):
        return x

    results = run({"fast": lambda x: x, "slow": slow}, sizes=(1, 2, 3))
    assert [list(cell.seconds) for cell in results.cells] == [["fast", "slow"], ["fast"], ["fast"]]


@given(rounds=st.integers(1, 60))
def test_all_take_turns_in_each_round(rounds):
    calls = []
    contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "TURN", 0.0)  # a call a turn
        found = contest.turns(contestants, 0.0, rounds)
    assert {len(seconds) for seconds in found.values()} == {rounds}
    order = calls[3:]  # after a call each, that finds out how long it takes
    assert order == [name for n in range(rounds) for name in ("cba" if n % 2 else "abc")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contestants": {"one": abs}}, "contestants: expected two functions"),
        ({"contestants": {"one": abs, "two": 3}}, "contestants: expected two functions"),
        ({"sizes": ()}, "sizes: expected one or more"),
        ({"thread_count": 0}, "threads: expected 1 or more, found 0"),
    ],
)
def test_wrong_arguments_of_a_race(options, message, quick):
    with pytest.raises(InputError, match=message):
        run(**{"contestants": {"one": abs, "two": abs}, **options})


@pytest.mark.deep
def test_the_picture_of_a_race(quick):
    pytest.importorskip("matplotlib")
    assert roofline.slope([(n, 3e-5 * n**1.5) for n in (1, 2, 4, 8)]) == pytest.approx(1.5)
    contestants = {"NumPy": np.square, "<twin>": lambda x: x * x}
    results = run(contestants, (2, 4, 8), flops=lambda n: n, bytes=lambda n: 16 * n)
    assert roofline.picture(results).startswith(b"\x89PNG")
    assert [cell.size for cell in results.cells] == [2, 4, 8]


def test_the_bandwidth_is_measured_by_as_many_bytes(quick, monkeypatch):
    monkeypatch.setattr(contest, "memory_bandwidth", lambda seconds, size: float(size))
    for counted, numbers in ((400, 100), (10**12, contest.BEYOND_CACHES), (0, 0)):
        (cell,) = run({"a": abs, "b": abs}, bytes=lambda n, counted=counted: counted).cells
        assert cell.bandwidth == numbers


# --- tables and pictures --------------------------------------------------------------------


@given(flops=st.floats(1, 1e15), moved=st.floats(1, 1e15))
def test_no_time_is_shorter_than_the_roofline(flops, moved):
    cell = replace(times(0, 1, NumPy=1.0), flops=flops, bytes=moved)
    seconds = LIMITS.seconds(cell)
    assert seconds >= flops / LIMITS.flops
    assert seconds >= moved / LIMITS.bytes
    assert math.isclose(flops / seconds, min(LIMITS.flops, flops / moved * LIMITS.bytes))
    cached = replace(cell, flops=0.0, bandwidth=2 * LIMITS.bytes)
    assert math.isclose(LIMITS.seconds(cached), moved / LIMITS.bytes / 2)
