"""``train classifier`` and ``recurrent-classifier``: runs that end by themselves, and reports."""

import json
import os
import random
import sys

import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.formats.word2vec import write_vectors
from minillm.runs.kind import Training, find_kind

TINY = ["--buckets", "400", "--batch", "8", "--learning-rate", "0.05"]
RECURRENT = ["--hidden", "6", "--embedding", "6", "--batch", "8", "--learning-rate", "0.05"]


@pytest.fixture
def noise(tmp_path):
    """Texts whose labels nobody could know: a model can only learn them by heart."""
    draw = random.Random(0)
    lines = [
        f"{draw.choice(['one', 'two'])}\t{' '.join(draw.choices('abcdefgh', k=5))}\n"
        for _ in range(80)
    ]
    path = tmp_path / "noise.tsv"
    path.write_text("".join(lines))
    return str(path)


def metrics(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def test_a_run_ends_by_itself_and_keeps_the_best_epoch(noise, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "classifier", noise, "--out", str(out), *TINY, "--epochs", "30"]
    assert main(command) == 0
    printed = capsys.readouterr()
    losses = [r["validation_loss"] for r in metrics(out) if "validation_loss" in r]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 5  # after each epoch, and the patience is 5
    assert len(losses) < 30
    assert f"stopped early after {best + 5} epochs, " in printed.out
    assert f"5 validations in a row without a better loss: the best was at epoch {best}\n" in (
        printed.out
    )
    assert f"(epoch {best})" in printed.out
    assert f"epoch {best}.0: training " in printed.err
    found = minillm.load(out).evaluate()["nats_per_item"]
    assert found == pytest.approx(min(losses), abs=1e-6)


def test_a_run_that_stopped_early_says_so_and_goes_on_with_more_patience(
    noise, tmp_path, capsys, fails
):
    out, whole = tmp_path / "run", tmp_path / "whole"
    train = ["train", "classifier", noise, *TINY]
    assert main([*train, "--patience", "1", "--out", str(out)]) == 0
    resume = ["train", "classifier", "--out", str(out), "--resume"]
    line = fails(*resume)
    assert "the run stopped early after " in line
    assert "1 validation in a row without a better loss: raise patience to continue" in line
    assert "the run stopped early after " in fails(*resume, "--epochs", "90")
    assert main([*resume, "--patience", "4"]) == 0
    assert main([*train, "--patience", "4", "--out", str(whole)]) == 0
    for name in ("model.safetensors", "config.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert metrics(out) == metrics(whole)


# --- beside TF-IDF -----------------------------------------------------------------------------


@pytest.fixture
def weather(tmp_path):
    """Two labels that a word tells apart: a file to train on, and one to measure on."""
    files = []
    for name, count in (("train", 30), ("test", 10)):
        path = tmp_path / f"{name}.tsv"
        lines = [f"good\ta fine day {k}\nbad\ta rainy day {k}\n" for k in range(count)]
        path.write_text("".join(lines))
        files.append(str(path))
    return files


def test_a_classifier_is_set_beside_tfidf(weather, tmp_path, capsys):
    pytest.importorskip("sklearn")
    training, test = weather
    out = str(tmp_path / "run")
    assert main(["train", "classifier", training, "--out", out, *TINY, "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "% of 6 validation texts\n" in printed
    assert "accuracy of TF-IDF with logistic regression: 100.0%\n" in printed
    assert main(["eval", out, test, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tfidf_accuracy"] == 1.0
    os.remove(training)
    assert main(["eval", out, test]) == 0
    assert f"not measured: {training}: " in capsys.readouterr().out


def test_without_scikit_learn_a_line_says_what_is_missing(weather, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.pipeline", None)
    training, test = weather
    out = str(tmp_path / "run")
    assert main(["train", "classifier", training, "--out", out, *TINY, "--epochs", "1"]) == 0
    missing = "not measured: TF-IDF needs the packages of: pip install 'minillm-book[metrics]'\n"
    assert f"accuracy of TF-IDF with logistic regression: {missing}" in capsys.readouterr().out
    assert main(["eval", out, test]) == 0
    assert missing in capsys.readouterr().out
    assert "tfidf_accuracy" not in minillm.load(out).evaluate()


def test_balanced_classes_count_alike(tmp_path, capsys):
    """Ten to one, and no word tells them apart: guessing the frequent one is no longer best."""
    path = tmp_path / "rare.tsv"
    path.write_text(
        "".join(f"{'rare' if k % 11 == 0 else 'usual'}\tthe same\n" for k in range(220))
    )
    found = {}
    for weights in ("none", "balanced"):
        out = str(tmp_path / weights)
        options = [*TINY, "--class-weights", weights]
        assert main(["train", "classifier", str(path), "--out", out, *options]) == 0
        found[weights] = minillm.load(out).classify(["the same"])[0].probabilities["rare"]
    assert found["none"] < 0.2
    assert 0.35 < found["balanced"] < 0.65


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (200, 33)),  # 72 training texts in batches of 64: 2 steps an epoch
        ({"batch": 16}, (80, 13)),
        ({"batch": 1}, (10, 5)),
        ({"patience": 3}, (200, 3)),
        ({"epochs": 2}, (2, 5)),
    ],
)
def test_few_texts_are_read_more_often(noise, options, expected):
    """The length that is not given depends on the number of texts; one that is given is kept."""
    kind = find_kind("classifier")
    given = {"batch": 64} | options
    training = Training(kind, None, kind.settings(**given), {"data": noise}, print)
    settings = kind.complete(training, given)
    assert (settings.epochs, settings.patience) == expected


@pytest.mark.deep
def test_a_hundred_texts_are_enough_to_learn_what_one_word_tells(tmp_path, capsys):
    """With the defaults: their few steps are not what stops it."""
    draw = random.Random(1)
    lines = [
        f"{label}\t{' '.join(draw.sample([*draw.choices('abcdefgh', k=5), word], 6))}\n"
        for label, word in (("good", "fine"), ("bad", "rain"))
        for _ in range(50)
    ]
    (tmp_path / "few.tsv").write_text("".join(lines))
    out = tmp_path / "run"
    assert main(["train", "classifier", str(tmp_path / "few.tsv"), "--out", str(out)]) == 0
    assert minillm.load(out).evaluate()["accuracy"] == 1


def test_a_recurrent_classifier_learns_an_order_of_characters(tmp_path, capsys):
    """The same characters in another order are another label."""
    draw = random.Random(2)
    lines = []
    for _ in range(60):
        letters = draw.choices("cdefgh", k=6)
        at, other = sorted(draw.sample(range(6), 2))
        for label, pair in (("first", "ab"), ("last", "ba")):
            letters[at], letters[other] = pair
            lines.append(f"{label}\t{''.join(letters)}\n")
    (tmp_path / "order.tsv").write_text("".join(lines))
    out = tmp_path / "run"
    options = ["--unit", "character", "--hidden", "16", "--embedding", "16", "--epochs", "60"]
    options += ["--learning-rate", "0.02", "--dropout", "0", "--patience", "60"]
    command = ["train", "recurrent-classifier", str(tmp_path / "order.tsv"), "--out", str(out)]
    assert main([*command, *options]) == 0
    assert minillm.load(out).evaluate()["accuracy"] > 0.9


def test_word_vectors_become_as_large_as_the_other_words(noise, tmp_path, capsys, fails):
    draw = np.random.default_rng(0)
    vectors = 7 * draw.standard_normal((4, 50)).astype(np.float32)
    write_vectors(tmp_path / "vectors.txt", list("abcd"), vectors)
    out = tmp_path / "run"
    command = ["train", "recurrent-classifier", noise, "--vectors", str(tmp_path / "vectors.txt")]
    command += ["--hidden", "4", "--steps", "1", "--learning-rate", "1e-9", "--out", str(out)]
    assert "have 50 numbers each, found 6" in fails(*command, "--embedding", "6")
    assert main(command) == 0
    assert "4 of 9 words have a vector" in capsys.readouterr().out
    run = minillm.load(out)
    E = run.model.params["embedding.E"]
    known = [id for id in range(len(run.tokenizer)) if run.tokenizer.show(id) in "abcd"]
    others = np.delete(E, known, axis=0)
    assert np.std(E[known]) == pytest.approx(np.std(others), rel=0.15)
    np.testing.assert_allclose(E[known] / np.std(E[known]), vectors / np.std(vectors), rtol=0.05)
    assert (
        main(["train", "recurrent-classifier", "--out", str(out), "--resume", "--steps", "2"]) == 0
    )
