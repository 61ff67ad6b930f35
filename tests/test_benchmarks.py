"""The benchmarks: verdicts on times that are made up, files, and the race of own functions."""

import importlib.util
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import benchmarks
from benchmarks import __main__ as program
from benchmarks import compare, race, report
from benchmarks.changes import ALL, Between, Config, Run, table
from benchmarks.results import VERSION, Cell, Limits, Results, load, machine, new_file
from minillm.errors import InputError
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.testing import check_projections

RACE = sys.modules["benchmarks.race"]  # the package has the function under this name
LIMITS = Limits(1, 1e11, 2e10)
SEEDS = st.integers(0, 2**32 - 1)


def times(seed, rounds, spread=0.05, **medians):
    """Make up rounds, with a noise that is skewed as that of times is, and some that all share."""
    rng = np.random.default_rng(seed)
    shared = np.exp(spread * rng.standard_normal(rounds))
    return Cell(
        1,
        "lstm",
        "32, 64",
        1e9,
        1e6,
        {
            name: (middle * shared * np.exp(spread * rng.exponential(size=rounds))).tolist()
            for name, middle in medians.items()
        },
    )


@pytest.fixture(scope="module")
def here():
    return machine()


def kept(here, *cells, folder, **changed):
    """Write a file of results, and return its path."""
    results = Results({**here, **changed}, {1: LIMITS}, list(cells))
    with new_file(folder) as file:
        results.write_to(file)
    return Path(file.name)


# --- verdicts -------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [5, 9, 40])
@pytest.mark.parametrize("units", [None, (1.0, 1.0)])
def test_of_one_distribution_nearly_all_show_no_difference(rounds, units, monkeypatch):
    monkeypatch.setattr(compare, "RESAMPLES", 400)
    words = []
    for seed in range(100):
        a, b = (times(2 * seed + n, rounds, NumPy=2.0, Cython=1.0) for n in (0, 1))
        words.append(compare.verdict(a, b, "Cython", units).word)
    assert sum(word == "no difference" for word in words) >= 95, words


@given(seed=SEEDS, rounds=st.integers(5, 50), factor=st.floats(1.25, 8), up=st.booleans())
def test_a_real_difference_is_found_in_both_directions(seed, rounds, factor, up):
    factor = factor if up else 1 / factor
    a = times(seed, rounds, 0.01, NumPy=2.0, Cython=1.0)
    b = times(seed + 1, rounds, 0.01, NumPy=2.0, Cython=factor)
    there, back = compare.verdict(a, b, "Cython"), compare.verdict(b, a, "Cython")
    assert [there.word, back.word] == (["worse", "better"] if up else ["better", "worse"])
    assert there.low <= there.ratio <= there.high
    assert there.ratio == pytest.approx(factor, rel=0.1)
    assert there.ratio * back.ratio == pytest.approx(1)


@given(seed=SEEDS, rounds=st.integers(5, 50), factor=st.floats(1.25, 8))
def test_a_slower_machine_is_not_the_code(seed, rounds, factor):
    a = times(seed, rounds, 0.005, NumPy=2.0, Cython=1.0)
    b = times(seed + 1, rounds, 0.005, NumPy=2.0 * factor, Cython=factor)
    assert compare.verdict(a, b, "Cython").word == "no difference: NumPy changed, too"


@given(seed=SEEDS, factor=st.floats(1.25, 4))
def test_slower_but_less_so_than_the_original_is_not_worse(seed, factor):
    a = times(seed, 9, 0.005, NumPy=2.0, Cython=1.0)
    b = times(seed + 1, 9, 0.005, NumPy=2.0 * factor**2, Cython=factor)
    assert compare.verdict(a, b, "Cython").word == "no difference: NumPy changed, too"


@given(seed=SEEDS, factor=st.floats(1.25, 8))
def test_on_two_machines_shares_are_compared(seed, factor):
    a = times(seed, 9, 0.005, NumPy=2.0, Cython=1.0)
    b = times(seed + 1, 9, 0.005, NumPy=2.0, Cython=factor)
    assert compare.verdict(a, b, "Cython", (0.5, 0.5 * factor)).word == "no difference"
    assert compare.verdict(a, b, "Cython", (0.5, 0.5)).word == "worse"


def test_a_difference_too_small_and_rounds_too_few(here):
    a = times(0, 50, 0.001, NumPy=2.0, Cython=1.0)
    b = times(1, 50, 0.001, NumPy=2.0, Cython=1.02)
    found = compare.verdict(a, b, "Cython")
    assert found.low > 1
    assert found.word == "no difference"
    few = times(1, 4, 0.001, NumPy=2.0, Cython=2.0)
    assert compare.verdict(a, few, "Cython").word == "too few rounds"


def test_the_table_of_a_comparison(here, tmp_path, capsys, monkeypatch):
    a = times(0, 9, 0.001, NumPy=2.0, Cython=1.0, PyTorch=3.0)
    b = times(1, 9, 0.001, NumPy=2.0, Cython=1.5, PyTorch=3.0)
    before = kept(here, a, replace(a, sizes="other"), folder=tmp_path)
    after = kept(here, b, folder=tmp_path, numpy="9.9")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "compare", str(before), str(after)])
    assert program.main() == 0
    shown = capsys.readouterr().out
    assert "One machine" in shown
    assert f"numpy: {here['numpy']} and 9.9" in shown
    row = next(line for line in shown.splitlines() if "Cython" in line)
    expected = "1 lstm 32, 64 Cython 1e+03 1.5e+03 1.50 (1.50 to 1.50) worse"
    assert row.split() == expected.split()
    assert "1 compared: 1 worse." in shown
    assert "In A alone: 1." in shown
    assert " PyTorch  " not in shown  # it is nobody's here to make faster

    elsewhere = kept(here, b, folder=tmp_path, processor="another")
    shown = compare.compare(load(before), load(elsewhere))
    assert "Two machines" in shown
    assert re.search(r"Cython +1% +1% +1\.50", shown)  # 10 ms, of 1 s and of 1.5 s


# --- files ----------------------------------------------------------------------------------


@given(
    seconds=st.dictionaries(
        st.text(min_size=1),
        st.lists(st.floats(1e-9, 1e3), min_size=3, max_size=3),
        min_size=1,
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
        compare.compare(results, results)
    except InputError as error:
        message = str(error)
    assert not message or re.fullmatch(rf"{re.escape(str(path))}.*: expected .*, found .*", message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (None, "expected a file of results, found No such file or directory"),
        ("", "expected results, found an empty file"),
        ("{", "line 1: expected a record of a machine, found '{'"),
        ('{"cell": {}}', "line 1: expected a record of a machine"),
        ('{"machine": {"version": 0}}', f"expected results of version {VERSION}, found 0"),
        ("[" * 100_000, "line 1: expected a record of a machine"),
    ],
)
def test_a_file_of_another_kind_ends_the_program(line, message, tmp_path, capsys, monkeypatch):
    path = tmp_path / "results.jsonl"
    if line is not None:
        path.write_text(line)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "compare", str(path), str(path)])
    assert program.main() == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_refusal_leaves_no_file(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(program, "limits", RACE.limits)
    monkeypatch.setattr(program, "kernels_info", lambda: {"available": ["numpy", "avx2"]})
    monkeypatch.setattr("benchmarks.cases.cases", lambda *_: [])
    for wrong, message in (("--only=nothing", "found no case"), ("--threads=0", "found 0")):
        command = ["benchmarks", "--out", str(tmp_path), "--threads=1", wrong]
        monkeypatch.setattr(sys, "argv", command)
        assert program.main() == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


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


@pytest.fixture
def quick(monkeypatch):
    """Limits that are not measured."""
    monkeypatch.setattr(RACE, "limits", lambda count: replace(LIMITS, threads=count))


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


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_the_same_numbers_agree_whatever_they_are(value, quick):
    run({"NumPy": lambda x: x * value, "twin": lambda x: x * value})


def test_small_numbers_are_compared_as_large_ones_are(quick):
    with pytest.raises(InputError, match="disagree"):
        run({"NumPy": lambda x: 1e-9 * x, "twin": lambda x: 2e-9 * x})


def test_each_contestant_has_arguments_of_its_own(quick):
    def change(x):
        x += 1
        return x.copy()

    run({"in place": change, "twin": lambda x: x + 1}, sizes=(2, 3))


def test_the_slow_are_left_out_at_larger_sizes(quick, monkeypatch):
    monkeypatch.setattr(RACE, "time_once", lambda run, *_: 1.0 if run.func is slow else 0.001)

    def slow(x):
        return x

    results = run({"fast": lambda x: x, "slow": slow}, sizes=(1, 2, 3))
    assert [list(cell.seconds) for cell in results.cells] == [["fast", "slow"], ["fast"], ["fast"]]


@given(rounds=st.integers(1, 60))
def test_all_take_turns_in_each_round(rounds):
    calls = []
    contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RACE, "TURN", 0.0)  # a call a turn
        found = RACE.turns(contestants, 0.0, rounds)
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
        (
            {"report": "report.pdf"},
            r"report\.pdf: expected a report that ends with \.html or \.png",
        ),
    ],
)
def test_wrong_arguments_of_a_race(options, message, quick):
    with pytest.raises(InputError, match=message):
        run(**{"contestants": {"one": abs, "two": abs}, **options})


@pytest.mark.deep
def test_the_report_and_the_figures_beside_it(quick, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "reports/squares.html"
    for _ in range(2):
        results = run(
            {"NumPy": np.square, "<twin>": lambda x: x * x},
            sizes=(2, 4, 8),
            flops=lambda n: n,
            bytes=lambda n: 16 * n,
            report=path,
        )
    page = path.read_text()
    assert "data:image/png;base64," in page
    assert "&lt;twin&gt;" in page
    files = sorted(path.parent.glob("squares-*.jsonl"))
    assert len(files) == 2
    assert load(files[1]).cells == results.cells or load(files[0]).cells == results.cells
    assert [cell.size for cell in results.cells] == [2, 4, 8]


# --- tables and pictures --------------------------------------------------------------------


@given(scale=st.floats(1e-6, 1), power=st.floats(0, 4), first=st.integers(1, 50))
def test_the_slope_is_the_power(scale, power, first):
    points = [(n * first, scale * (n * first) ** power) for n in (1, 2, 4, 8)]
    assert report.slope(points) == pytest.approx(power, abs=1e-6)
    assert report.slope(points[:1]) is None


def test_the_table_has_ratios_and_shares(here):
    cells = [times(0, 9, 0.0, NumPy=2.0, Cython=1.0, PyTorch=0.5)]
    cells.append(replace(cells[0], threads=2, seconds={"NumPy": [3.0], "Cython": [1.0]}))
    limits = {1: Limits(1, 2e9, 1e9), 2: Limits(2, 4e9, 1e9)}
    shown = report.table(Results(here, limits, cells))
    row = next(line for line in shown.splitlines() if line.startswith("lstm"))
    assert row.split()[3:] == [
        "1e+03",
        "0%",
        "2.00",
        "0.50",
        "50%",
        "1e+03",
        "0%",
        "3.00",
        "-",
        "25%",
    ]
    assert "Recurrences on 1, geometric mean: 2.00 x NumPy, 0.50 x PyTorch." in shown


@given(flops=st.floats(1, 1e15), moved=st.floats(1, 1e15))
def test_no_time_is_shorter_than_the_roofline(flops, moved):
    cell = replace(times(0, 1, NumPy=1.0), flops=flops, bytes=moved)
    seconds = LIMITS.seconds(cell)
    assert seconds >= flops / LIMITS.flops
    assert seconds >= moved / LIMITS.bytes
    assert math.isclose(flops / seconds, min(LIMITS.flops, flops / moved * LIMITS.bytes))


def test_the_parts_of_a_step_are_all_of_it(monkeypatch):
    pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")
    from benchmarks import gpt, parts

    sizes = {"layers": 1, "heads": 2, "width": 8, "context": 4, "batch": 2}
    monkeypatch.setitem(gpt.SIZES, "tiny", sizes)
    monkeypatch.setattr(parts, "limits", lambda count: Limits(count, 1e9, 1e9))
    _, _, *lines = parts.table("tiny", [1], 1).splitlines()
    *taken, whole = (float(line.split("|")[2]) for line in lines)
    assert len(taken) == len(parts.PARTS)
    assert whole > 0
    assert math.isclose(sum(taken), whole, abs_tol=0.1)


# --- from GPT-2 to Llama ----------------------------------------------------------------------

SIZES = {"vocabulary": 7, "context": 5, "layers": 2, "heads": 4, "width": 8}


@pytest.mark.parametrize(
    ("model", "config", "changes"),
    [(GPT, GPTConfig(**SIZES), {}), (Llama, LlamaConfig(**SIZES, key_heads=2), ALL)],
)
def test_the_ends_are_gpt_and_llama(model, config, changes):
    rng = np.random.default_rng(0)
    end, ids = model(config, rng), rng.integers(0, 7, (2, 5))
    between = Between(Config(**SIZES, **changes), params=end.params)
    np.testing.assert_array_equal(between.logits(ids)[0], end.logits(ids)[0])


@settings(max_examples=20)
@given(names=st.sets(st.sampled_from([*ALL, "tied"])), seed=SEEDS)
def test_any_changes_make_a_model_with_its_gradient(names, seed):
    rng = np.random.default_rng(seed)
    changes = {name: (ALL | {"tied": False})[name] for name in names}
    model = Between(Config(**SIZES, **changes), rng, dtype=np.float64)
    for array in model.params.values():
        array += rng.normal(0, 0.1, array.shape)
    batch = tuple(rng.integers(0, 7, (2, 3, 5)))
    gradients = model.loss(batch)[1]()
    assert gradients.keys() == model.params.keys()
    assert all(np.any(g) for g in gradients.values())
    check_projections(lambda: model.loss(batch), model.params, rng=rng)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=4))
def test_the_table_has_mean_and_deviation(losses):
    runs = [Run("text", "all", "muon", seed) for seed in range(len(losses))]
    row = table(dict(zip(runs, losses, strict=True)), dict.fromkeys(runs, 1234)).splitlines()[-1]
    text, variant, nothing, none, steps, cell = (part.strip() for part in row[2:-2].split("|"))
    assert (text, variant, nothing, none, steps) == ("text", "all", "", "", "1,234")
    mean, deviation = map(float, cell.split(" ± "))
    assert math.isclose(mean, sum(losses) / len(losses), abs_tol=5.01e-4)
    squares = sum((loss - sum(losses) / len(losses)) ** 2 for loss in losses)
    assert math.isclose(deviation, math.sqrt(squares / (len(losses) - 1)), abs_tol=5.01e-4)


def test_all_programs_are_listed():
    folder = Path(benchmarks.__file__).parent
    scripts = [p.stem for p in folder.glob("*.py") if '__name__ == "__main__"' in p.read_text()]
    listed = re.findall(r"python -m benchmarks\.(\w+)", benchmarks.__doc__)
    assert sorted(listed) == sorted(set(scripts) - {"__main__"})


@pytest.fixture(scope="module")
def distances(tmp_path_factory):
    """The book's own kernel, compiled."""
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("own")
    source = Path(benchmarks.__file__).parent / "own/distances.pyx"
    (folder / source.name).write_text(source.read_text())
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-3", source.name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    spec = importlib.util.spec_from_file_location("distances", next(folder.glob("distances.*.*")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.deep
@given(n=st.integers(0, 40), m=st.integers(0, 70), depth=st.integers(0, 9), seed=SEEDS)
def test_the_own_kernel_equals_its_definition_at_the_edges_of_tiles(n, m, depth, seed, distances):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((n, depth), np.float32), rng.standard_normal((m, depth), np.float32)
    expected = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    for function in (distances.typed, distances.tiled):
        np.testing.assert_allclose(function(a, b), expected, rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="expected rows of one length"):
            function(a, np.zeros((m, depth + 1), np.float32))


@pytest.mark.deep
def test_the_contestants_of_all_cases_agree():
    """With PyTorch, where it is installed."""
    from benchmarks.cases import cases

    for case in cases(full=True):
        results = {name: case.compared(run()) for name, run in case.contestants.items()}
        RACE.check_agreement(f"{case.kind} ({case.sizes})", results, case.tolerance)
