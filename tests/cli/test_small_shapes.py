"""The command line of classifiers, called as a user calls it."""

import io
import json
import sys

import pytest

import minillm
from minillm.cli import main

TEXTS = "".join(
    f"{label}\t{text} {k}\n"
    for k in range(20)
    for label, text in (("good", "what a fine day it is"), ("bad", "rain and wind again"))
)


def typed(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.tsv"
    path.write_text(TEXTS)
    return str(path)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, labelled):
    out = str(tmp_path_factory.mktemp("run") / "classifier")
    assert main(["train", "classifier", labelled, "--out", out, "--steps", "20"]) == 0
    return out


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    pytest.importorskip("sklearn")
    out = str(tmp_path_factory.mktemp("run") / "images")
    command = ["train", "image-classifier", "digits", "--out", out]
    assert main([*command, "--steps", "200"]) == 0
    return out


def test_a_classifier_is_measured(classifier, capsys, tmp_path):
    assert main(["eval", classifier, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["accuracy"] == results["macro_f1"] == 1
    assert results["labels"] == ["bad", "good"]
    assert results["confusion"] == [[2, 0], [0, 2]]
    file = tmp_path / "texts.tsv"
    file.write_text("good\train and wind\nbad\train and wind\n")
    assert main(["eval", classifier, str(file)]) == 0
    assert "accuracy" in capsys.readouterr().out
    file.write_text("good\tfine\nugly\tso so\n")
    assert main(["eval", classifier, str(file)]) == 2
    assert "text 2: expected a label among bad, good; found 'ugly'" in capsys.readouterr().err
    assert main(["eval", classifier, "--part", "test"]) == 2
    assert "no test part" in capsys.readouterr().err


def test_an_empty_line_is_answered_like_any_other(classifier, monkeypatch, capsys):
    typed(monkeypatch, "a fine day\n\n  \nwind and rain\n")
    assert main(["classify", classifier]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [text for _, _, text in rows] == ["a fine day", "", "  ", "wind and rain"]
    assert rows[1][:2] == rows[2][:2]  # the answer to no word at all


@pytest.mark.parametrize("pooling", ["last", "attention"])
def test_no_text_has_the_same_answer_alone_and_among_others(pooling, labelled, tmp_path):
    out = str(tmp_path / "run")
    command = ["train", "recurrent-classifier", labelled, "--out", out, "--pooling", pooling]
    assert main([*command, "--hidden", "8", "--steps", "1"]) == 0
    run = minillm.load(out)
    (alone,) = run.classify([""])
    assert run.classify(["a fine day", "", "rain"])[1] == alone
    assert sum(alone.probabilities.values()) == pytest.approx(1)


def test_texts_are_classified_as_json(classifier, capsys):
    texts = ["a fine day", "", 'wind\nand "rain" é']
    assert main(["classify", classifier, texts[0], "--json", *texts[1:]]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["a fine day", "", "wind", 'and "rain" é']
    assert [row["label"] for row in rows if row["text"]] == ["good", "bad", "bad"]
    for row in rows:
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)


def test_bad_texts_to_train_on(tmp_path, capsys):
    out, file = str(tmp_path / "run"), tmp_path / "texts.tsv"
    for text, message in (
        ("good\tfine\nno tab\n", "line 2: expected label<TAB>text, found no tab"),
        ("good\tfine\n" * 30, "expected two labels or more, found 1"),
        ("good\tfine\nbad\tnot so\n", "expected a label with ten texts or more"),
    ):
        file.write_text(text)
        assert main(["train", "classifier", str(file), "--out", out]) == 2
        assert message in capsys.readouterr().err
    assert main(["train", "classifier", "--out", out]) == 2
    assert (
        "DATA: expected lines label<TAB>text, or a folder for each label; found none"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_images_are_classified_and_measured(images, monkeypatch, capsys, options):
    assert main(["eval", images, "--part", "test", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["items"] == 360
    assert results["accuracy"] > 0.9  # after 200 steps
    typed(monkeypatch, " ".join(["0.5"] * 64) + "\n")
    assert main(["classify", images]) == 0
    assert capsys.readouterr().out[0] in "0123456789"
    for line in ("0.5 " * 63, "0.5 " * 63 + "x", "0.5 " * 63 + "2"):
        typed(monkeypatch, line + "\n")
        assert main(["classify", images]) == 2
        message = "standard input, line 1: expected an image: 64 numbers from 0 to 1"
        assert message in capsys.readouterr().err
    typed(monkeypatch, "".join(f"{' '.join([one] * 64)}\n" for one in ("0.5", "x", "0.5")))
    assert main(["classify", images, *options]) == 2
    captured = capsys.readouterr()
    assert "standard input, line 2: expected an image" in captured.err
    first, second, third = captured.out.splitlines()
    assert (first, second) == (third, "null" if options else "")
