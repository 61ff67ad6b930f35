"""Classifiers: runs that end by themselves, the simple model beside, weights, and word vectors."""

import os
import random
import sys

import numpy as np
import pytest
from kind_rows import tsv
from tiny import metrics

import minillm
from minillm.errors import InputError
from minillm.formats.word2vec import write_vectors
from minillm.runs.kind import Training, find_kind

TINY = {"buckets": 400, "batch": 8, "learning_rate": 0.05}


@pytest.fixture
def noise(tmp_path):
    """Texts with random labels, which a model can only memorise."""
    draw = random.Random(0)
    path = tmp_path / "noise.tsv"
    rows = [(draw.choice(["one", "two"]), draw.choices("abcdefgh", k=5)) for _ in range(80)]
    path.write_text(tsv((label, " ".join(words)) for label, words in rows))
    return path


def classifier(files, out=None, told=None, kind="classifier", **settings):
    report = (lambda line: None) if told is None else told.append
    return minillm.train(kind, out, files=files, report=report, **{**TINY, **settings})


def test_a_run_ends_by_itself_keeps_the_best_epoch_and_goes_on_with_more_patience(noise, tmp_path):
    out, told = tmp_path / "run", []
    classifier(noise, out, patience=1)
    stopped = "the run stopped early after .*1 validation in a row without a better loss: raise pat"
    for longer in ({}, {"epochs": 90}):
        with pytest.raises(InputError, match=stopped):
            minillm.train("classifier", out, resume=True, **longer)
    minillm.train("classifier", out, resume=True, patience=4, quiet=True)
    whole = classifier(noise, tmp_path / "whole", patience=4, told=told)
    losses = [r["validation_loss"] for r in metrics(whole.path) if "validation_loss" in r]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 4  # after each epoch
    assert any(line.startswith(f"stopped early after {best + 4} epochs, ") for line in told)
    said = f"4 validations in a row without a better loss: the best was at epoch {best}"
    assert any(said in line for line in told)
    assert whole.evaluate()["nats_per_item"] == pytest.approx(min(losses), abs=1e-6)
    for name in ("model.safetensors", "config.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert metrics(out) == metrics(tmp_path / "whole")


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
    training = Training(kind, None, kind.settings(**given), {"data": str(noise)}, print)
    settings = kind.complete(training, given)
    assert (settings.epochs, settings.patience) == expected


# --- beside TF-IDF --------------------------------------------------------------------------------


@pytest.fixture
def weather(tmp_path):
    """Two labels that a word tells apart: a file to train on, and one to measure on."""
    files = [tmp_path / "train.tsv", tmp_path / "test.tsv"]
    for path, count in zip(files, (30, 10), strict=True):
        path.write_text(
            "".join(f"good\ta fine day {k}\nbad\ta rainy day {k}\n" for k in range(count))
        )
    return files


def test_a_classifier_is_set_beside_tfidf(weather, monkeypatch):
    pytest.importorskip("sklearn")
    told, (training, test) = [], weather
    run = classifier(training, told=told, epochs=1)
    assert any("accuracy of TF-IDF with logistic regression: 100.0%" in line for line in told)
    assert run.evaluate(files=test, beside=True)["tfidf_accuracy"] == 1.0
    assert "tfidf_accuracy" not in run.evaluate(files=test)
    with monkeypatch.context() as patch:  # it would take minutes
        patch.setattr("minillm.runs.kinds.labels.MOST", 3)
        found = run.evaluate(files=test, beside=True)["tfidf_accuracy"]
    assert found == "not measured: it is for 3 training texts at most"
    os.remove(training)
    found = run.evaluate(files=test, beside=True)["tfidf_accuracy"]
    assert found.startswith(f"not measured: {training}: ")


def test_without_scikit_learn_a_line_says_what_is_missing(weather, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.pipeline", None)
    told, (training, test) = [], weather
    run = classifier(training, told=told, epochs=1)
    missing = "not measured: TF-IDF needs the packages of: pip install 'minillm-book[metrics]'"
    assert any(f"accuracy of TF-IDF with logistic regression: {missing}" in line for line in told)
    assert run.evaluate(files=test, beside=True)["tfidf_accuracy"] == missing


# --- what is learned ------------------------------------------------------------------------------


def test_balanced_classes_count_alike(tmp_path):
    """Ten to one, and no word tells them apart: guessing the frequent one is no longer best."""
    path = tmp_path / "rare.tsv"
    path.write_text(tsv(("rare" if k % 11 == 0 else "usual", "the same") for k in range(220)))
    found = {
        weights: classifier(path, class_weights=weights, epochs=4)
        .classify("the same")
        .probabilities["rare"]
        for weights in ("none", "balanced")
    }
    assert found["none"] < 0.2
    assert 0.35 < found["balanced"] < 0.65


def test_word_vectors_become_as_large_as_the_other_words(noise, tmp_path):
    draw = np.random.default_rng(0)
    vectors = 7 * draw.standard_normal((4, 50)).astype(np.float32)
    write_vectors(tmp_path / "vectors.txt", list("abcd"), vectors)
    given = {"files": noise, "vectors": tmp_path / "vectors.txt", "hidden": 4, "steps": 1}
    with pytest.raises(InputError, match="have 50 numbers each, found 6"):
        minillm.train("recurrent-classifier", **given, embedding=6)
    told, out = [], tmp_path / "run"
    run = minillm.train(
        "recurrent-classifier", out, **given, learning_rate=1e-9, report=told.append
    )
    assert any("4 of 9 words have a vector" in line for line in told)
    E = run.model.params["embedding.E"]
    known = [id for id in range(len(run.tokenizer)) if run.tokenizer.show(id) in "abcd"]
    others = np.delete(E, known, axis=0)
    assert np.std(E[known]) == pytest.approx(np.std(others), rel=0.15)
    np.testing.assert_allclose(E[known] / np.std(E[known]), vectors / np.std(vectors), rtol=0.05)
    minillm.train("recurrent-classifier", out, resume=True, steps=2, quiet=True)
