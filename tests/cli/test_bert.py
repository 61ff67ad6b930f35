"""The command line of BERT, called as a user calls it."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
import tiny

import minillm
from minillm.cli import main
from minillm.errors import InputError

TEXT = "the cat sat on the mat and the dog sat on the log.\nan unbelievable mouse ran.\n" * 50
TINY = tiny.BERT


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text_file):
    """A finished run of 20 steps: not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", "bert", text_file, "--out", str(folder), "--steps", "20", *TINY]) == 0
    return folder


# --- what works -------------------------------------------------------------------------


def test_the_end_of_training_tells_what_came_of_it(text_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "bert", text_file, "--out", str(out), "--steps", "4", *TINY]) == 0
    output = capsys.readouterr()
    assert "trained after 4 steps, " in output.out
    assert " masked tokens, 0:0" in output.out
    assert "nats per masked token (step 4)" in output.out
    assert "masked_accuracy 0." in output.err
    sample = output.out.partition("stood there:\n\n")[2]
    assert sample.count("|") >= 1
    assert json.loads((out / "config.json").read_text())["training"]["learning_rate"] == 0.15 / 8


def test_shards_train_as_the_text_does(finished, text_file, tmp_path):
    shards = str(tmp_path / "shards")
    command = ["tokenize", text_file, "--out", shards, "--tokenizer", str(finished)]
    assert main([*command, "--shard-bytes", "500"]) == 0
    out = str(tmp_path / "run")
    assert main(["train", "bert", shards, "--out", out, "--steps", "3", *TINY]) == 0
    assert minillm.load(out).evaluate()["masked_tokens"] > 0


def test_evaluation_hides_always_the_same(finished, text_file, capsys):
    run = minillm.load(finished)
    one, two = run.evaluate(), run.evaluate()
    assert one == two
    # 15 % of a passage, to the nearest whole: of ten tokens, beside the two special ones, two
    assert one["masked_tokens"] == pytest.approx(2 * one["tokens"] / 10, abs=2)
    capsys.readouterr()
    assert main(["eval", str(finished), text_file, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["tokens"] == len(run.tokenizer.encode(TEXT))
    assert results["perplexity"] == pytest.approx(np.exp(results["nats_per_masked_token"]))


def test_fill(finished, capsys):
    run = minillm.load(finished)
    (gap,) = run.fill("the cat [MASK] on the mat", top=50)
    probabilities = [probability for _, probability in gap]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=0.2)
    assert not {token for token, _ in gap[:-5]} & set(run.tokenizer.specials)
    capsys.readouterr()
    assert main(["fill", str(finished), "the [MASK] sat on the [MASK]", "--top", "3"]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    expected = [
        "\n".join(f"{probability:7.4f}  {token}" for token, probability in gap)
        for gap in run.fill("the [MASK] sat on the [MASK]", top=3)
    ]
    assert [first, second.rstrip("\n")] == expected


def test_embed(finished, tmp_path, monkeypatch, capsys):
    texts = ["the cat", "", "the dog sat on the log", "the cat", "mouse " * 40]
    run = minillm.load(finished)
    vectors = run.embed(texts)
    assert vectors.shape == (5, 8)
    for text, vector in zip(texts, vectors, strict=True):  # neighbours change nothing
        np.testing.assert_allclose(run.embed([text])[0], vector, atol=1e-5)
    np.testing.assert_allclose(vectors[4], run.embed(["mouse " * 10])[0], atol=1e-5)
    x, _ = run.model.hidden(np.array([[run.tokenizer.bos, *run.tokenizer.encode("the cat"),
                                       run.tokenizer.eos]]))  # fmt: skip
    np.testing.assert_allclose(vectors[0], x[0].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(run.embed(["the cat"], "first")[0], x[0, 0], atol=1e-5)
    np.testing.assert_allclose(run.embed(["the cat"], "max")[0], x[0].max(axis=0), atol=1e-5)
    assert run.embed([]).shape == (0, 8)
    to = tmp_path / "v.npy"
    assert main(["embed", str(finished), *texts, "--to", str(to)]) == 0
    np.testing.assert_array_equal(np.load(to), vectors)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\n")))
    command = ["embed", str(finished), "--to", str(to), "--pooling", "first"]
    assert main(command) == 0
    np.testing.assert_array_equal(np.load(to), run.embed(["the cat"], "first"))


def test_similar_texts(finished, tmp_path, capsys):
    (tmp_path / "lines").write_text("the dog\nthe cat sat\n\nan unbelievable mouse\n")
    command = ["similar", str(finished), "the cat sat", "--among", str(tmp_path / "lines")]
    capsys.readouterr()
    assert main([*command, "--count", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0] == " 1.0000  the cat sat"
    assert main(["similar", str(finished), "the cat", "the cat"]) == 0
    assert capsys.readouterr().out == "1.0000\n"


# --- what does not ----------------------------------------------------------------------


def test_wrong_input(finished, text_file, tmp_path, fails):
    fill = ["fill", finished]
    assert "TEXT: expected [MASK] where a word is missing, found 'the cat'" in fails(
        *fill, "the cat"
    )
    assert "TEXT: expected at most 10 tokens, found 12" in fails(*fill, "[MASK]" + " the" * 11)
    assert "--top: expected a whole number from 1" in fails(*fill, "[MASK]", "--top", "0")
    assert "compares two texts, or one with --among FILE" in fails("similar", finished, "one")
    assert "--pooling: expected one of mean, first" in fails(
        "embed", finished, "--pooling", "last", "--to", tmp_path / "x"
    )
    assert not (tmp_path / "x").exists()
    with pytest.raises(InputError, match="pooling: expected one of mean, first, max; found 'last'"):
        minillm.load(finished).embed(["x"], "last")
    train = ["train", "bert", text_file, "--out", tmp_path / "run"]
    assert "heads: expected a divisor of width" in fails(*train, "--width", "10", "--heads", "4")
    assert "--context: expected less than the" in fails(*train, *TINY, "--context", "5000")
    assert not (tmp_path / "run").exists()


def test_another_vocabulary(text_file, tmp_path, fails):
    pairs = tmp_path / "pairs"
    command = ["train", "tokenizer", text_file, "--vocabulary", "300", "--out", str(pairs)]
    assert main(command) == 0
    line = fails(
        *("train", "bert", text_file, "--tokenizer", pairs, "--out", tmp_path / "run", *TINY)
    )
    assert "expected a vocabulary with [CLS], [SEP] and [MASK]" in line
    assert "found one of unit bpe" in line


def test_runs_of_other_kinds(finished, text_file, tmp_path, fails):
    out = tmp_path / "words"
    options = ["--dimension", "4", "--epochs", "1", "--minimum-count", "1"]
    assert main(["train", "word2vec", text_file, "--out", str(out), *options]) == 0
    line = fails("similar", out, "the", "--among", text_file)
    assert "--among: a run of word2vec compares words, not texts" in line
    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "vocabulary.json").write_text((out / "vocabulary.json").read_text())
    line = fails("fill", copy, "[MASK]")
    assert "vocabulary.json: it is damaged" in line


def test_a_vocabulary_without_a_mask(finished, tmp_path, fails):
    copy = shutil.copytree(finished, tmp_path / "copy")
    path = copy / "vocabulary.json"
    path.write_text(path.read_text().replace("[MASK]", "[GONE]"))
    assert "expected a vocabulary with [CLS], [SEP] and [MASK]" in fails("embed", copy, "--to", "x")
