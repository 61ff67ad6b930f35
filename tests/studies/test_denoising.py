"""The study of pre-training by denoising: its trainings, what is kept, and its tables."""

import numpy as np
import pytest

import minillm
from benchmarks.studies import denoising
from benchmarks.studies.denoising import lines_of, measure, read_results, table
from minillm.errors import InputError
from minillm.option import types_of
from minillm.runs.kind import find_kind

SIZES = {"width": 8, "heads": 2, "layers": 1, "feed_forward": 8}
TEXT = "The cat sat on the mat. The dog sat on the log.\n" * 30


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pre"
    settings = {"vocabulary": 270, "steps": 2, "batch": 4, **SIZES}
    minillm.train("denoiser", folder, text=TEXT, quiet=True, **settings)
    return str(folder)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"the {n} cats\tcats {n}\n" for n in range(40)))
    return str(path)


def test_a_gain_is_a_difference_seed_by_seed():
    losses = {("random weights", 10): [3, 5], ("pre-trained", 10): [2, 5]}
    losses |= {("random weights", 20): [2, 2], ("pre-trained", 20): [1, 1]}
    records = [
        {"line": line, "pairs": size, "seed": seed, "nats_per_token": value}
        for (line, size), values in losses.items()
        for seed, value in enumerate(values)
    ]
    assert table(records, "nats_per_token").splitlines() == [
        "| pairs | 10 | 20 |",
        "| --- | ---: | ---: |",
        "| random weights | 4.00 ± 1.41 | 2.00 ± 0.00 |",
        "| pre-trained | 3.50 ± 2.12 | 1.00 ± 0.00 |",
        "| gain | -0.50 ± 0.71 | -1.00 ± 0.00 |",
    ]


def test_what_is_done_is_kept(run, pairs, tmp_path, monkeypatch, capsys):
    trained = []

    def by_training(folder, part, held_out, settings, beam):
        trained.append((len(part), settings["seed"], "init" in settings))
        return {"nats_per_token": float(len(trained))}

    monkeypatch.setattr(denoising, "by_training", by_training)
    out, settings = str(tmp_path / "out"), {"steps": 3}
    first = measure(out, run, pairs, None, [5, 10], 2, settings, 1)
    assert sorted(trained) == [(n, s, i) for n in (5, 10) for s in (0, 1) for i in (False, True)]
    assert len(first) == len(list(read_results(tmp_path / "out"))) == 8
    assert "5 pairs, seed 0, pre-trained: " in capsys.readouterr().out
    assert measure(out, run, pairs, None, [5, 10], 2, settings, 1) == first
    assert len(trained) == 8
    more = measure(out, run, pairs, None, [10, 20], 2, settings, 1)
    assert len(trained) == 12
    assert len(more) == 8
    measure(out, run, pairs, None, [5], 1, {"steps": 4}, 1)
    assert len(trained) == 14


def test_both_have_the_same_vocabulary_and_sizes(run):
    initial = minillm.load(run)
    random, trained = lines_of(initial).values()
    assert trained == {"init": run}
    assert random["tokenizer"] == run
    assert SIZES.items() <= random.items()
    assert random.keys() <= types_of(find_kind("transformer").settings).keys()


@pytest.mark.deep
def test_trainings_on_pairs(run, pairs, tmp_path):
    records = measure(str(tmp_path), run, pairs, None, [10], 1, {"steps": 2, "batch": 4}, 1)
    assert [record["line"] for record in records] == ["random weights", "pre-trained"]
    for record in records:
        assert np.isfinite(record["nats_per_token"])
        assert record["max_source"] == 128
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_wrong_input(run, pairs, tmp_path):
    with pytest.raises(InputError, match="sizes: expected at most 36 pairs, found 50"):
        measure(str(tmp_path), run, pairs, None, [5, 50], 1, {}, 1)
    other = tmp_path / "lm"
    minillm.train("lm", other, text=TEXT, steps=1, hidden=8, embedding=4, quiet=True)
    with pytest.raises(InputError, match="RUN: expected a run of denoiser, found one of lm"):
        measure(str(tmp_path / "out"), str(other), pairs, None, [5], 1, {}, 1)
