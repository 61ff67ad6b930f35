"""``--init``, and all that fine-tunes a run, called as a user calls it."""

import json

import numpy as np
import pytest

import minillm
from minillm.cli import main

TEXT = "the cat sat on the mat and the dog sat on the log.\nan unbelievable mouse ran.\n" * 40
LABELLED = "".join(
    f"{label}\tthe {animal} sat on the {place}\n"
    for label, place in (("low", "mat"), ("high", "log"), ("high", "tree"))
    for animal in ("cat", "dog", "mouse", "mouse and the cat", "cat and the dog", "unbelievable")
)
BLOCKS = ["--width", "8", "--heads", "2", "--layers", "2"]
KINDS = {
    "bert": [*BLOCKS, "--context", "16", "--vocabulary", "60"],
    "gpt": [*BLOCKS, "--context", "16", "--unit", "bpe", "--vocabulary", "280"],
    "lm": ["--hidden", "8", "--embedding", "4", "--layers", "2"],
    "tied": ["--hidden", "8", "--embedding", "8", "--tied", "--unit", "word"],
}
QUICK = ["--steps", "3", "--batch", "4"]


def kind_of(name):
    return "lm" if name == "tied" else name


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.txt").write_text(TEXT)
    (folder / "labelled.tsv").write_text(LABELLED)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory, files):
    """A small run of each kind of model that reads: not to be changed."""
    folder = tmp_path_factory.mktemp("bases")
    for name, options in KINDS.items():
        command = ["train", kind_of(name), str(files / "text.txt"), "--out", str(folder / name)]
        assert main([*command, *options, *QUICK]) == 0
    return folder


@pytest.fixture
def train(files, tmp_path):
    """Trains a classifier in a new folder; returns the folder."""

    def run(*options, name="run"):
        out = tmp_path / name
        command = ["train", "classifier", files / "labelled.tsv", "--out", out, *QUICK, *options]
        assert main([str(part) for part in command]) == 0
        return out

    return run


# --- from a model that reads to a classifier ----------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_classifier_from(name, bases, train, files, capsys):
    out = train("--init", bases / name)
    printed = capsys.readouterr().out
    assert f"from {bases / name} ({kind_of(name)}): " in printed
    assert " weights taken; new: output.W, output.b" in printed
    run, base = minillm.load(out), minillm.load(bases / name)
    assert run.tokenizer.to_dict() == base.tokenizer.to_dict()
    assert main(["eval", str(out), str(files / "labelled.tsv"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    found = run.classify(["the cat sat on the mat", "the dog", ""])
    assert results["items"] == 18
    for row in found:
        assert sum(row.probabilities.values()) == pytest.approx(1)
    alone = run.classify(["the dog"])[0]  # neighbours change nothing
    assert found[1].probability == pytest.approx(alone.probability, rel=1e-5)
    assert "FineTuned" in repr(run)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("bert", "left: mask.W, mask.b, mask.norm.gain, mask.norm.bias, mask.output_b\n"),
        ("gpt", "output.b\n"),
        ("lm", "left: output.W, output.b\n"),
        ("tied", "left: output.b\n"),
    ],
)
def test_it_says_what_was_left(name, left, bases, train, capsys):
    train("--init", bases / name)
    assert left in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gpt", "lm", "tied"])
def test_the_helper_loss_keeps_what_predicts(name, bases, train, capsys):
    out = train("--init", bases / name, "--helper-loss", "0.5")
    assert "left" not in capsys.readouterr().out
    assert minillm.load(out).model.config.helper_loss == 0.5


def test_a_classifier_of_a_classifier(bases, train, capsys, files, tmp_path):
    """With the same labels it goes on; with others, the last layer is new."""
    first = train("--init", bases / "bert")
    capsys.readouterr()
    train("--init", first, name="second")
    assert "new:" not in capsys.readouterr().out
    other = tmp_path / "other.tsv"
    other.write_text(LABELLED.replace("low", "a").replace("high", "b"))
    command = ["train", "classifier", str(other), "--out", str(tmp_path / "third"), *QUICK]
    assert main([*command, "--init", str(first)]) == 0
    assert "; new: output.W, output.b; left: output.W, output.b\n" in capsys.readouterr().out


def test_a_classifier_of_one_that_was_trained_from_nothing(train, capsys):
    first = train("--hidden", "6", "--embedding", "4", "--pooling", "attention", "--layers", "2")
    capsys.readouterr()
    second = train("--init", first, name="second")
    printed = capsys.readouterr().out
    assert " (classifier): " in printed
    assert "new:" not in printed
    config = minillm.load(second).model.config
    assert (config.hidden, config.layers, config.pooling) == (6, 2, "attention")


def test_a_bert_reads_the_frame_and_no_more_than_its_context(bases, train):
    run = minillm.load(train("--init", bases / "bert", "--max-length", "300"))
    long = run.classify(["the cat " * 100])[0]
    assert long == run.classify(["the cat " * 7])[0]  # 14 tokens, beside [CLS] and [SEP]
    assert long != run.classify(["the cat " * 6])[0]


def test_resumed_equals_uninterrupted(bases, train, files, tmp_path):
    options = ["--init", bases / "bert", "--steps", "9", "--batch", "4"]
    whole = minillm.load(train(*options))
    stopped = tmp_path / "stopped"
    stop_after(4, ["train", "classifier", files / "labelled.tsv", "--out", stopped, *options])
    assert main(["train", "classifier", "--out", str(stopped), "--resume"]) == 0
    assert_same(whole, minillm.load(stopped))


def stop_after(steps, command):
    """Runs a training that is interrupted, as by Ctrl-C, after some steps."""
    import os
    import signal

    from minillm.training.minibatches import MinibatchTask

    original, count = MinibatchTask.training_loss, 0

    def counted(self, rng):
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MinibatchTask, "training_loss", counted)
        assert main([str(part) for part in command]) == 130


def assert_same(one, other):
    """The weights of two runs, bit for bit."""
    assert one.model.params.keys() == other.model.params.keys()
    for name, array in one.model.params.items():
        np.testing.assert_array_equal(array, other.model.params[name])


# --- what does not ------------------------------------------------------------------------


def test_wrong_input(bases, files, tmp_path, fails):
    train = ["train", "classifier", files / "labelled.tsv", "--out", tmp_path / "run", *QUICK]
    bert = ["--init", bases / "bert"]
    assert "none: there is no run in it" in fails(*train, "--init", tmp_path / "none")
    assert "--hidden: the encoder is that of --init, found 7" in fails(
        *train, *bert, "--hidden", "7"
    )
    assert "--unit: the tokenizer of --init comes along (60 tokens, wordpiece); found word" in (
        fails(*train, *bert, "--unit", "word")
    )
    assert "--tokenizer: the tokenizer of --init comes along (60 tokens, wordpiece); found" in (
        fails(*train, *bert, "--tokenizer", bases / "lm")
    )
    assert "helper_loss needs an encoder that predicts the next token, not bert" in fails(
        *train, *bert, "--helper-loss", "1"
    )
    assert "pooling must be one of" in fails(*train, *bert, "--pooling", "attention")
    words = tmp_path / "words"
    options = ["--dimension", "4", "--epochs", "1", "--minimum-count", "1", "--out", str(words)]
    assert main(["train", "word2vec", str(files / "text.txt"), *options]) == 0
    line = fails(*train, "--init", words)
    assert "--init: expected a run of lm, gpt, bert or classifier, found one of word2vec" in line
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: model.update(kind=["bert"]), "kind: expected"),
        (lambda model: model.update(kind="elman"), "encoder"),
        (lambda model: model.update(encoder=3), "encoder: expected an object, found 3"),
        (lambda model: model["encoder"].update(width=10**10), "encoder: width: expected at most"),
        (lambda model: model["encoder"].update(width=10**8), "ask for more than the"),
        (lambda model: model["encoder"].update(heads=3), "heads must divide width"),
        (lambda model: model["encoder"].update(layers=60), "ask for more than the"),
        (lambda model: model["encoder"].pop("vocabulary"), "'vocabulary' is missing"),
        (lambda model: model["encoder"].update(colour=1), "there is no size 'colour'"),
        (lambda model: model.update(helper_loss=1.0), "helper_loss needs"),
    ],
)
def test_a_damaged_configuration(damage, message, bases, train, fails):
    out = train("--init", bases / "bert")
    path = out / "config.json"
    config = json.loads(path.read_text())
    damage(config["model"])
    path.write_text(json.dumps(config))
    line = fails("classify", out, path)
    assert "config.json: its configuration is damaged: " in line
    assert message in line
