"""The study of small data: what each training is given, what is trained once, and bad input."""

import json

import numpy as np
import pytest
from tiny import stopped_after

from benchmarks.studies import curve
from minillm.cli import main
from minillm.formats.word2vec import write_vectors
from minillm.training.minibatches import MinibatchTask

TINY = ["--steps", "5", "--batch", "4"]
LM = ["--steps", "5", "--batch", "4", "--hidden", "4"]
TEXTS = {"good": "what a fine day", "bad": "rain and wind again"}


def lines(count, labels=("good", "bad")):
    return "".join(f"{label}\t{TEXTS[label]} {k}\n" for k in range(count) for label in labels)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data.tsv").write_text(lines(40))
    (tmp_path / "test.tsv").write_text(lines(3))
    return tmp_path


def command(folder, *options):
    return [
        *(str(folder / "data.tsv"), "--test", str(folder / "test.tsv")),
        *("--out", str(folder / "curve"), "--sizes", "20,10", "--seeds", "2", *TINY, *options),
    ]


def results(folder):
    path = folder / "curve" / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def trained(monkeypatch):
    """Record the settings of each training from now on."""
    found = []
    original = curve.by_training

    def watched(folder, part, held_out, settings):
        found.append((part, held_out, settings))
        return original(folder, part, held_out, settings)

    monkeypatch.setattr(curve, "by_training", watched)
    return found


def test_a_curve(data, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    found = trained(monkeypatch)
    assert main(command(data), curve) == 0
    output = capsys.readouterr().out
    assert "10 labels, seed 1, n-grams: " in output
    assert "| labels | 10 | 20 |\n| --- | ---: | ---: |\n| TF-IDF | 100.0 ± 0.0 |" in output
    assert (data / "curve" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (data / "curve").iterdir()} == {"curve.png", "results.jsonl"}
    records = results(data)
    assert [(r["seed"], r["labels"], r["line"]) for r in records] == [
        (seed, size, line) for seed in (0, 1) for size in (10, 20) for line in ("TF-IDF", "n-grams")
    ]
    for record in records:
        assert 0 <= record["accuracy"] <= 1
    test = set((data / "test.tsv").read_text().splitlines())
    smaller, larger, *_ = [{"\t".join(one) for one in part} for part, _, _ in found]
    assert len(smaller) == 10
    assert len(larger) == 20
    assert smaller < larger
    for part, held_out, settings in found:
        assert {"\t".join(one) for one in held_out} == test
        assert [label for label, _ in part].count("good") == len(part) / 2
        assert settings["seed"] in (0, 1)


@pytest.mark.deep
def test_each_training_is_done_once_and_more_are_added(data, capsys, monkeypatch):
    found = trained(monkeypatch)
    assert main(command(data), curve) == 0
    first, count = results(data), len(found)
    assert main(command(data), curve) == 0
    assert len(found) == count
    assert results(data) == first
    assert main(command(data, "--seeds", "3"), curve) == 0
    assert results(data)[: len(first)] == first
    assert len(found) - count == 2  # one more seed, at two sizes
    table = capsys.readouterr().out.rpartition("accuracy in percent")[2]
    assert "3 seeds" in table


def test_an_interrupted_curve_goes_on_with_the_same_results(data, capsys):
    assert main(command(data), curve) == 0
    whole = [{k: v for k, v in r.items() if k != "seconds"} for r in results(data)]
    (data / "curve" / "results.jsonl").unlink()
    capsys.readouterr()
    stopped_after(8, command(data), MinibatchTask, curve)  # within the second training
    assert "to continue: the same command again" in capsys.readouterr().out
    kept = results(data)
    assert [r["line"] for r in kept].count("n-grams") == 1
    assert {path.name for path in (data / "curve").iterdir()} == {"curve.png", "results.jsonl"}
    assert main(command(data), curve) == 0
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in results(data)] == whole


def test_other_data_or_settings_are_other_trainings(data, monkeypatch):
    found = trained(monkeypatch)
    assert main(command(data), curve) == 0
    count = len(found)
    assert main(command(data, "--batch", "5"), curve) == 0
    assert len(found) == 2 * count
    (data / "test.tsv").write_text(lines(4))
    assert main(command(data), curve) == 0
    assert len(found) == 3 * count


def test_word_vectors_are_a_line_of_their_own(data, monkeypatch):
    words = ["what", "a", "fine", "day", "rain", "and", "wind", "again"]
    vectors = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    write_vectors(data / "vectors.txt", words, vectors)
    found = trained(monkeypatch)
    monkeypatch.chdir(data)
    options = ["--vectors", "vectors.txt"]
    assert main(command(data, "--sizes", "10", "--seeds", "1", *options), curve) == 0
    path = str(data / "vectors.txt")
    ngrams = {"steps": 5, "batch": 4, "seed": 0, "kind": "classifier"}
    recurrent = ngrams | {"kind": "recurrent-classifier", "vectors": path}
    assert [settings for _, _, settings in found] == [ngrams, recurrent]
    assert [r["line"] for r in results(data) if r["line"] != "TF-IDF"] == [
        "n-grams",
        "word vectors",
    ]


def test_each_run_to_begin_with_is_a_line(data, monkeypatch):
    """It has the options of fine-tuning, and none of the sizes of models n-grams."""
    (data / "text.txt").write_text("what a fine day 0123\nrain and wind again 456789\n" * 40)
    for name in ("one", "two"):
        out = str(data / name)
        assert main(["train", "lm", str(data / "text.txt"), "--out", out, *LM]) == 0
    found = trained(monkeypatch)
    runs = [str(data / "one"), str(data / "two")]
    options = ["--sizes", "10", "--seeds", "1", "--freeze", "1", "--init", *runs]
    assert main(command(data, *options), curve) == 0
    tuned = {"steps": 5, "batch": 4, "freeze": "1", "seed": 0, "kind": "finetuned"}
    assert [settings for _, _, settings in found][1:] == [tuned | {"init": run} for run in runs]
    assert "freeze" not in found[0][2]
    assert [r["line"] for r in results(data)][-2:] == ["from one", "from two"]


def test_without_a_test_every_tenth_text_is_one_and_never_trained_on(data, monkeypatch):
    found = trained(monkeypatch)
    out = str(data / "curve")
    options = ["--out", out, "--sizes", "10,72", "--seeds", "1", *TINY]
    assert main([str(data / "data.tsv"), *options], curve) == 0
    for part, held_out, _ in found:
        assert len(held_out) == 8
        assert not set(part) & set(held_out)


def test_without_scikit_learn_there_is_no_tfidf(data, monkeypatch, capsys):
    monkeypatch.setattr(curve, "has_sklearn", lambda: False)
    assert main(command(data, "--sizes", "10", "--seeds", "1"), curve) == 0
    output = capsys.readouterr().out
    assert "TF-IDF is left out: it needs the package scikit-learn" in output
    assert [r["line"] for r in results(data)] == ["n-grams"]
    assert "| n-grams | " in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "10,x"], "--sizes: expected whole numbers with commas between, found '10,x'"),
        (["--sizes", "0"], "--sizes: expected whole numbers"),
        (["--sizes", "81"], "--sizes: expected at most the 80 texts of"),
        (["--sizes", "1"], "at least one text of each of the 2 labels, and 5 of some label"),
        (["--sizes", "4"], "at least one text of each of the 2 labels, and 5 of some label"),
        (["--vectors", "none.txt"], "none.txt: there is no run in it"),
        (["--init", "a/x", "b/x"], "--init: expected folders of different names, found x again"),
        (["--init", "nowhere"], "nowhere: there is no run in it"),
        (["--class-weights", "odd"], "--class-weights: expected one of"),
        (["--steps", "9", "--minutes", "1"], "minutes"),
    ],
)
def test_bad_options(data, fails, options, message):
    assert message in fails(*command(data, *options), program=curve)
    assert not (data / "curve").exists()


def test_bad_data(data, fails):
    (data / "test.tsv").write_text("good\tx\nodd\ty\n")
    line = fails(*command(data), program=curve)
    assert "test.tsv, text 2: expected a label that" in line
    assert "found 'odd'" in line
    (data / "data.tsv").write_text("no tab\n")
    assert "data.tsv, line 1: expected label<TAB>text" in fails(*command(data), program=curve)
    assert "none.tsv: there is no such file" in fails("none.tsv", "--out", "x", program=curve)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "results.jsonl, line 1: expected JSON"),
        ('{"labels": "ten"}', "results.jsonl, line 1: expected a number 'labels'"),
    ],
)
def test_damaged_results(data, fails, line, message):
    (data / "curve").mkdir()
    (data / "curve" / "results.jsonl").write_text(line + "\n")
    assert message in fails(*command(data), program=curve)
