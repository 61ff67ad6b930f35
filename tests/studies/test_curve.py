"""The study of small data: what each training is given, what is trained once, and bad input."""

import io
import json
import shutil
import signal
from collections import Counter
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.studies import curve
from minillm.cli import main
from minillm.training.minibatches import MinibatchTask

pytest.importorskip("sklearn")
LM = ["--steps", "5", "--batch", "4", "--hidden", "4"]
TEXTS = {"good": "what a fine day", "bad": "rain and wind again"}
LEFT = {"results.jsonl"}


def lines(count, labels=("good", "bad")):
    return "".join(f"{label}\t{TEXTS[label]} {k}\n" for k in range(count) for label in labels)


def written(folder):
    (folder / "data.tsv").write_text(lines(40))
    (folder / "test.tsv").write_text(lines(3))
    return folder


@pytest.fixture
def data(tmp_path):
    return written(tmp_path)


def command(folder, *options, sizes=("20", "10"), seeds="2"):
    start = [str(folder / "data.tsv"), "--test", str(folder / "test.tsv"), "--steps", "5"]
    return [*start, "--out", str(folder / "curve"), "--sizes", *sizes, "--seeds", seeds, *options]


def results(folder):
    path = folder / "curve" / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def watched(monkeypatch):
    """What each training is given from now on, but for TF-IDF."""
    found = []
    original = curve.by_training

    def by_training(folder, part, held_out, settings):
        if settings["kind"] != curve.TFIDF:
            found.append((part, held_out, settings))
        return original(folder, part, held_out, settings)

    monkeypatch.setattr(curve, "by_training", by_training)
    return found


@pytest.fixture
def trained(monkeypatch):
    return watched(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with data and a curve, what was printed, and what its trainings were given."""
    folder = written(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as output:
        trained = watched(patch)
        assert curve.main(command(folder)) == 0
    return folder, output.getvalue(), trained


def test_a_curve(whole):
    data, output, trained = whole
    assert "10 labels, seed 1, n-grams: " in output
    assert "| labels | 10 | 20 |\n| --- | ---: | ---: |\n| TF-IDF | 100.0 ± 0.0 |" in output
    assert {path.name for path in (data / "curve").iterdir()} == LEFT
    assert [(r["seed"], r["labels"], r["line"]) for r in results(data)] == [
        (seed, size, line) for seed in (0, 1) for size in (10, 20) for line in ("TF-IDF", "n-grams")
    ]
    test = set((data / "test.tsv").read_text().splitlines())
    smaller, larger, *_ = [{"\t".join(one) for one in part} for part, _, _ in trained]
    assert (len(smaller), len(larger)) == (10, 20)
    assert smaller < larger
    for part, held_out, settings in trained:
        assert {"\t".join(one) for one in held_out} == test
        assert [label for label, _ in part].count("good") == len(part) / 2
        assert settings["seed"] in (0, 1)


def test_each_training_is_done_once_after_an_interruption_too(
    whole, data, capsys, trained, monkeypatch
):
    shutil.copytree(whole[0] / "curve", data / "curve")
    before = [{k: v for k, v in r.items() if k != "seconds"} for r in results(data)]
    kept = (data / "curve" / "results.jsonl").read_text().splitlines(keepends=True)
    assert curve.main(command(data)) == 0
    assert trained == []
    # All but the first result are lost, and the second training is interrupted.
    (data / "curve" / "results.jsonl").write_text("".join(kept[:1]))
    capsys.readouterr()
    losses, own = [], MinibatchTask.training_loss

    def stopped(self, rng):
        losses.append(1)
        if len(losses) == 8:
            signal.raise_signal(signal.SIGINT)
        return own(self, rng)

    monkeypatch.setattr(MinibatchTask, "training_loss", stopped)
    assert curve.main(command(data)) == 130
    assert "to continue: the same command again" in capsys.readouterr().out
    assert [r["line"] for r in results(data)].count("n-grams") == 1
    assert {path.name for path in (data / "curve").iterdir()} == LEFT
    assert curve.main(command(data)) == 0
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in results(data)] == before
    # Other data, and one more seed: only these are trained.
    (data / "test.tsv").write_text(lines(4))
    count = len(trained)
    for seeds in ("1", "2"):
        assert curve.main(command(data, sizes=["10"], seeds=seeds)) == 0
        assert len(trained) - count == int(seeds)


def test_each_run_to_begin_with_is_a_line(data, trained):
    (data / "text.txt").write_text("what a fine day 0123\nrain and wind again 456789\n" * 40)
    run = str(data / "one")
    assert main(["train", "lm", str(data / "text.txt"), "--out", run, *LM]) == 0
    assert curve.main(command(data, "--init", run, sizes=["10"], seeds="1")) == 0
    assert trained[-1][2] == {"steps": 5, "seed": 0, "kind": "finetuned", "init": run}
    assert results(data)[-1]["line"] == "from one"


def test_without_a_test_every_tenth_text_is_one_and_never_trained_on(data):
    part, held_out = curve.split(str(data / "data.tsv"), None)
    assert (len(part), len(held_out)) == (72, 8)
    assert not set(part) & set(held_out)


def test_bad_data(data, capsys):
    for size, message in (
        ("81", "--sizes: expected at most the 80 texts of"),
        ("1", "at least one text of each of the 2 labels, and 5 of some label"),
        ("4", "at least one text of each of the 2 labels, and 5 of some label"),
    ):
        assert curve.main(command(data, sizes=[size])) == 2
        assert message in capsys.readouterr().err
    (data / "test.tsv").write_text("good\tx\nodd\ty\n")
    assert curve.main(command(data)) == 2
    assert "test.tsv, text 2: expected a label that" in capsys.readouterr().err
    assert not (data / "curve").exists()


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60), st.integers(0, 1000))
def test_the_first_rows_of_any_number_have_the_labels_in_their_shares(labels, seed):
    order = curve.nested_order(labels, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    whole = Counter(labels)
    for n in range(len(whole), len(labels) + 1):
        found = Counter(labels[row] for row in order[:n])
        assert found.keys() == whole.keys()
        for label, count in whole.items():
            # each label's first row is out of turn: as many of the others come later
            assert abs(found[label] - n * count / len(labels)) <= len(whole)
