"""The command line of GPT, called as a user calls it."""

import json
import shutil

import numpy as np
import pytest
import tiny
from model_checks import loss_in_context
from tiny import TEXT, metrics

import minillm
from minillm.cli import main
from minillm.data import Shards

TINY = tiny.GPT


@pytest.fixture(scope="module")
def shards(tmp_path_factory, text_file, gpt):
    """The text in shards of some 500 tokens, with the vocabulary of the finished run."""
    folder = tmp_path_factory.mktemp("shards") / "shards"
    command = ["tokenize", text_file, "--out", str(folder), "--tokenizer", str(gpt)]
    assert main([*command, "--shard-bytes", "500"]) == 0
    return folder


@pytest.fixture(scope="module")
def pairs(made):
    """A GPT of byte pairs."""
    return made("gpt", "--steps", "1", *TINY, "--unit", "bpe", "--vocabulary", "270")


@pytest.fixture(scope="module")
def words(made):
    """A GPT of words."""
    return made("gpt", "--steps", "1", *TINY, "--unit", "word")


# --- what works -------------------------------------------------------------------------


def test_the_end_of_training_tells_what_came_of_it(text_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "gpt", text_file, "--out", str(out), "--steps", "4", *TINY]) == 0
    output = capsys.readouterr()
    assert "trained after 4 steps, 192 characters, 0:0" in output.out
    assert "nats per character (step 4)" in output.out
    assert len(output.out.partition("sample:\n\n")[2]) > 200
    lines = output.err.splitlines()
    assert lines[0].startswith("step 1: training ")
    logged = [record for record in metrics(out) if "gradient_norm" in record]
    assert all(record["gradient_norm"] > 0 for record in logged)


@pytest.mark.deep
def test_no_default_depends_on_the_clock(tmp_path):
    """A run keeps its dropout, however often its text is read."""
    text, out = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT[:256])
    train = ["train", "gpt", str(text), *TINY, "--out", str(out), "--overwrite"]
    for options, dropout in (
        (["--steps", "2"], 0),
        (["--minutes", "0.005"], 0),
        (["--steps", "2", "--dropout", "0.1"], 0.1),
    ):
        assert main([*train, *options]) == 0
        assert minillm.load(out).model.config.dropout == dropout
    assert main([*train[:2], "--out", str(out), "--resume", "--steps", "3"]) == 0
    assert minillm.load(out).model.config.dropout == 0.1
    text.write_text(TEXT * 2)
    assert main([*train, "--steps", "2"]) == 0


def test_it_writes_past_its_context(gpt, capsys):
    run = minillm.load(gpt)
    texts = ["".join(run.write("the ", length=100, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 104
    capsys.readouterr()
    assert main(["generate", str(gpt), "--prompt", "the ", "--length", "100", "--seed", "1"]) == 0
    assert capsys.readouterr().out == texts[0] + "\n"
    assert "".join(run.write(TEXT[:40], length=1, seed=1)).startswith(TEXT[:40])


def test_evaluation_is_of_the_whole_held_out_text(gpt, text_file, capsys):
    run, cut = minillm.load(gpt), len(TEXT) * 9 // 10
    ids = run.tokenizer.encode(TEXT[cut:])
    expected = loss_in_context(run.model, ids)
    results = run.evaluate()
    assert results["tokens"] == len(ids) - 1
    for name in ("token", "byte", "character"):
        assert results[f"nats_per_{name}"] == pytest.approx(expected, rel=1e-5)
        assert results[f"bits_per_{name}"] == pytest.approx(expected / np.log(2), rel=1e-5)
    capsys.readouterr()
    assert main(["eval", str(gpt), text_file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == len(TEXT) - 1


def test_a_picture_of_one_head(gpt, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    capsys.readouterr()
    plot = ["plot", "attention", str(gpt), "the cat"]
    assert main([*plot, "--layer", "1", "--head", "1", "--to", str(tmp_path / "a.png")]) == 0
    told = "layer 1, head 1 (of 2 layers with 2 heads)\n"
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'a.png'}\n{told}")
    assert main([*plot, "--to", str(tmp_path / "a.png")]) == 0
    assert "layer 0, mean over the heads (of 2" in capsys.readouterr().out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    trace = minillm.load(gpt).trace("the cat")
    assert trace.tokens == list("the␣cat")
    [found] = trace.attention
    assert found.weights.shape == (2, 2, 7, 7)
    np.testing.assert_allclose(found.weights.sum(axis=-1), 1, rtol=1e-5)
    assert main(["plot", "loss", str(gpt), "--to", str(tmp_path / "b.png")]) == 0


@pytest.mark.parametrize("width", [8, 16])
def test_the_learning_rate_follows_the_width(text_file, tmp_path, width):
    out = tmp_path / "run"
    options = ["--steps", "1", *TINY, "--width", str(width)]
    assert main(["train", "gpt", text_file, "--out", str(out), *options]) == 0
    assert json.loads((out / "config.json").read_text())["training"]["learning_rate"] == 0.4 / width


# --- shards -----------------------------------------------------------------------------


def test_training_from_shards_equals_training_from_the_text(shards, text_file, tmp_path, gpt):
    options = ["--steps", "20", *TINY]
    out = tmp_path / "run"
    assert main(["train", "gpt", str(shards), "--out", str(out), *options]) == 0
    for name in ("model.safetensors", "vocabulary.json"):
        assert (out / name).read_bytes() == (gpt / name).read_bytes()
    assert metrics(out) == metrics(gpt)
    one, other = (minillm.load(folder).evaluate() for folder in (out, gpt))
    assert one.pop("text") == f"the held-out end of {shards}"
    other.pop("text")
    assert one == other
    # and what is measured on a whole folder is measured on its text
    one, other = (minillm.load(out).evaluate(files=data) for data in (shards, text_file))
    assert one | {"text": ""} == other | {"text": ""}


def test_a_run_from_shards_is_resumed_bit_for_bit(shards, tmp_path, monkeypatch):
    options = ["--steps", "14", "--dropout", "0.1", "--checkpoint-seconds", "0", *TINY]
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(["train", "gpt", str(shards), "--out", str(whole), *options]) == 0

    class Killed(Exception):
        pass

    from minillm.training.language_model import WindowTask

    loss, steps = WindowTask.training_loss, []

    def dies(self, rng):
        steps.append(1)
        if len(steps) == 9:
            raise Killed
        return loss(self, rng)

    monkeypatch.setattr(WindowTask, "training_loss", dies)
    with pytest.raises(Killed):
        main(["train", "gpt", str(shards), "--out", str(out), *options])
    monkeypatch.undo()
    assert main(["train", "gpt", "--out", str(out), "--resume"]) == 0
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert metrics(out) == metrics(whole)


def test_shards_of_words(text_file, words, tmp_path):
    folder = str(tmp_path / "shards")
    assert main(["tokenize", text_file, "--out", folder, "--tokenizer", str(words)]) == 0
    out = str(tmp_path / "run")
    assert main(["train", "gpt", folder, "--out", out, "--steps", "2", *TINY]) == 0
    results = minillm.load(out).evaluate()
    assert results["unit"] == "word"
    assert results["unknown_share"] == 0
    assert "nats_per_byte" not in results  # how a word is spelled is not predicted


def test_byte_pairs_from_text_and_from_shards(text_file, pairs, tmp_path):
    out, folder = (str(tmp_path / name) for name in ("run", "shards"))
    command = ["tokenize", text_file, text_file, "--out", folder, "--tokenizer", str(pairs)]
    assert main(command) == 0
    shards, tokenizer = Shards(folder), minillm.load(pairs).tokenizer
    expected = [*tokenizer.encode(TEXT), tokenizer.eos]
    assert shards[:].tolist() == expected * 2
    assert main(["train", "gpt", folder, "--out", out, "--steps", "2", *TINY]) == 0
    assert minillm.load(out).tokenizer.to_dict() == tokenizer.to_dict()
    whole = minillm.load(out).evaluate(files=folder)
    nats = whole["nats_per_token"] * whole["tokens"]
    assert whole["tokens"] == 2 * len(expected) - 1
    first = len(tokenizer.decode(expected[:1]))
    assert nats / whole["nats_per_byte"] == pytest.approx(2 * len(TEXT) - first)


def likes(run, id):
    """The run, whose model finds one token far more probable than the others."""
    run.model.params["norm.bias"][:] = 1
    run.model.params["norm.gain"][:] = 0
    run.model.params["embedding.E"][:] = 0
    run.model.params["embedding.E"][id] = 5
    return run


def test_a_model_ends_its_text_if_it_has_seen_where_texts_end(text_file, pairs, tmp_path):
    options = ["--steps", "1", *TINY]
    spelled, folder, documents = (str(tmp_path / name) for name in "abc")
    assert main(["tokenize", text_file, "--out", folder, "--tokenizer", str(pairs)]) == 0
    assert main(["train", "gpt", folder, "--out", documents, *options]) == 0
    (tmp_path / "file").write_text("one.<|endoftext|>two.<|endoftext|>" * 60)
    train = ["train", "gpt", str(tmp_path / "file"), "--out", spelled, "--tokenizer", str(pairs)]
    assert main([*train, *options]) == 0
    eos = minillm.load(pairs).tokenizer.eos
    for name, stops in ((pairs, False), (spelled, True), (documents, True)):
        run = likes(minillm.load(name), eos)
        assert run.data["documents"] is stops
        written = "".join(run.write("the", length=9, seed=1))
        assert (written == "the") is stops
        assert "<|endoftext|>" not in written


# --- what does not ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--heads", "3"], "heads: expected a divisor of width, found 3 and 8"),
        (["--context", "2754"], "expected more than one window of 2,754 tokens, found 2,754"),
        (["--tokenizer", "nowhere"], "nowhere"),
    ],
)
def test_nonsense_options(text_file, tmp_path, fails, options, complaint):
    command = ["train", "gpt", text_file, "--out", tmp_path / "out", "--steps", "1"]
    assert complaint in fails(*command, *TINY, *options)
    assert not (tmp_path / "out").exists()


def test_a_prompt_without_a_word(words, fails):
    line = fails("generate", words, "--prompt", "  ")
    assert "--prompt: expected one token or more, found none in '  '" in line


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("the cat", ["--layer", "2"], "--layer: expected 0 to 1, found 2"),
        ("the cat", ["--head", "2"], "--head: expected 0 to 1, found 2"),
        ("the Cat", [], "TEXT, line 1, column 5: the character 'C'"),
    ],
)
def test_pictures_that_cannot_be(gpt, fails, text, options, complaint):
    assert complaint in fails("plot", "attention", gpt, text, *options)


def test_bad_shards_are_named(shards, gpt, text_file, tmp_path, fails):
    out = ["--out", tmp_path / "out", "--steps", "5", *TINY]
    assert "expected a folder of shards alone" in fails("train", "gpt", shards, text_file, *out)
    assert "there are no shards in it" in fails("train", "gpt", tmp_path, *out)
    bad = shutil.copytree(shards, tmp_path / "bad")
    ids = np.fromfile(bad / "00001.bin", np.uint16)
    (ids + 100).tofile(bad / "00001.bin")
    line = fails("eval", gpt, bad)
    assert "00001.bin, token 0: expected an id below" in line
    (bad / "00001.bin").write_bytes(b"123")
    expected = f"00001.bin: expected {len(ids)} ids of 2 bytes"
    assert expected in fails("train", "gpt", bad, *out)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [0, -1])
def test_nothing_is_trained_on_shards_of_which_a_bit_has_flipped(shards, tmp_path, fails, place):
    """The id is one of the vocabulary, all the same; and a run is not gone on with."""
    bad, out = shutil.copytree(shards, tmp_path / "bad"), tmp_path / "out"
    options = ["--out", out, "--checkpoint-seconds", "0", *TINY]
    assert main(["train", "gpt", str(bad), "--steps", "2", *map(str, options)]) == 0
    file = sorted(bad.glob("*.bin"))[place]
    ids = np.fromfile(file, np.uint16)
    ids[place] ^= 1 if ids[place] != 14 else 2  # of 15
    ids.tofile(file)
    before = {path: path.read_bytes() for path in out.iterdir()}
    complaint = f"{file}: expected what was written, found other bytes: it is damaged"
    assert complaint in fails("train", "gpt", "--out", out, "--resume", "--steps", "4")
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert complaint in fails("train", "gpt", bad, "--out", tmp_path / "new", "--steps", "2", *TINY)
    assert not (tmp_path / "new").exists()


def test_shards_that_are_cut_short_during_the_training_end_it_with_a_line(
    shards, tmp_path, capsys, monkeypatch
):
    bad = shutil.copytree(shards, tmp_path / "bad")
    verify = Shards.verify

    def then_cut(self, *arguments):
        verify(self, *arguments)
        for file in bad.glob("*.bin"):
            file.write_bytes(b"")

    monkeypatch.setattr(Shards, "verify", then_cut)
    command = ["train", "gpt", str(bad), "--out", str(tmp_path / "out"), "--steps", "50", *TINY]
    assert main(command) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert ".bin: it has been cut short since it was opened" in line


def test_shards_of_another_vocabulary(gpt, shards, tmp_path, fails):
    (tmp_path / "other").write_text("some other characters\n" * 200)
    train = ["train", "gpt", str(tmp_path / "other"), "--steps", "2", *TINY]
    other, folder = tmp_path / "run", tmp_path / "shards"
    assert main([*train, "--out", str(other)]) == 0
    command = ["tokenize", str(tmp_path / "other"), "--out", str(folder)]
    assert main([*command, "--tokenizer", str(other)]) == 0
    line = fails("eval", gpt, folder)
    assert f"{folder}: expected shards of the vocabulary of {gpt} (" in line
    resumed = shutil.copytree(gpt, tmp_path / "copy")
    line = fails("train", "gpt", folder, "--out", resumed, "--resume", "--steps", "30")
    assert f"{folder}: the text has changed since the run was started" in line
    new = ["--out", tmp_path / "new", "--steps", "1", *TINY]
    line = fails("train", "gpt", shards, "--tokenizer", other, *new)
    assert "expected shards of the vocabulary of tokenizer" in line


def test_shards_that_have_changed(shards, tmp_path, text_file, gpt, fails):
    folder, out = shutil.copytree(shards, tmp_path / "shards"), tmp_path / "run"
    assert main(["train", "gpt", str(folder), "--out", str(out), "--steps", "2", *TINY]) == 0
    again = ["tokenize", text_file, "--out", str(folder), "--tokenizer", str(gpt)]
    assert main([*again, "--shard-bytes", "600", "--overwrite"]) == 0
    assert "has changed since the run was started" in fails("eval", out)
    resume = ["train", "gpt", "--out", out, "--resume", "--steps", "4"]
    assert "has changed since the run was started" in fails(*resume)
