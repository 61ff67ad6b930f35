"""Runs that are trained on shards: as on their text, and never on other bytes."""

import shutil

import numpy as np
import pytest
from kind_rows import TEXT
from tiny import interrupted, metrics

import minillm
from minillm.cli import main
from minillm.data import Shards
from minillm.errors import InputError
from minillm.runs.folder import RunFolder
from minillm.training.language_model import WindowTask


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory, runs):
    """Shards of a text with the vocabulary of a row's run, of 500 bytes each."""

    def folder(name, text=TEXT, files=1, size=500, out=None):
        path = tmp_path_factory.mktemp("text") / "text.txt"
        path.write_text(text)
        out = out or path.parent / "shards"
        command = ["tokenize", *[str(path)] * files, "--out", str(out), "--overwrite"]
        assert main([*command, "--tokenizer", str(runs(name)), "--shard-bytes", str(size)]) == 0
        return out

    return folder


@pytest.fixture(scope="module")
def shards(tokenized):
    return tokenized("gpt")


def train(runs, name, files, out, **settings):
    return minillm.train(out=out, **{**runs.given(name), "files": files, **settings})


def test_training_from_shards_equals_training_from_the_text(shards, runs, tmp_path):
    run, of_text = train(runs, "gpt", shards, tmp_path / "run"), minillm.load(runs("gpt"))
    for name in ("model.safetensors", "vocabulary.json"):
        assert (run.path / name).read_bytes() == (of_text.path / name).read_bytes()
    assert metrics(run.path) == metrics(of_text.path)
    one, other = run.evaluate(), of_text.evaluate()
    assert one.pop("text") == f"the held-out end of {shards}"
    other.pop("text")
    assert one == other
    # and what is measured on a whole folder is measured on its text
    one, other = run.evaluate(files=shards), of_text.evaluate(text=TEXT)
    assert one | {"text": ""} == other | {"text": ""}


def test_a_run_from_shards_is_resumed_bit_for_bit(shards, runs, tmp_path):
    options = {"steps": 10, "dropout": 0.1}
    whole = train(runs, "gpt", shards, None, **options)
    with interrupted(6, WindowTask):
        train(runs, "gpt", shards, tmp_path / "run", **options)
    run = minillm.train("gpt", tmp_path / "run", resume=True, quiet=True)
    for name, array in whole.model.params.items():
        np.testing.assert_array_equal(run.model.params[name], array)
    assert metrics(run.path) == metrics(whole.path)


def test_shards_of_words_and_of_wordpieces(tokenized, runs, tmp_path):
    for name, kind, figure in (("ngram", "gpt", "tokens"), ("bert", "bert", "masked_tokens")):
        run = train(runs, kind, tokenized(name), tmp_path / name, steps=2)
        results = run.evaluate()
        assert results[figure] > 0
        assert results["unit"] == {"ngram": "word", "bert": "wordpiece"}[name]
        assert "nats_per_byte" not in results  # how a word is spelled is not predicted


def test_of_byte_pairs_the_end_of_each_file_is_a_token(tokenized, runs, tmp_path):
    tokenizer = minillm.load(runs("byte pairs")).tokenizer
    folder = tokenized("byte pairs", files=2)
    expected = [*tokenizer.encode(TEXT), tokenizer.eos]
    assert Shards(folder)[:].tolist() == expected * 2
    run = train(runs, "gpt", folder, tmp_path / "run", steps=2)
    assert run.tokenizer.to_dict() == tokenizer.to_dict()
    whole = run.evaluate(files=folder)
    assert whole["tokens"] == 2 * len(expected) - 1
    nats = whole["nats_per_token"] * whole["tokens"]
    first = len(tokenizer.decode(expected[:1]))
    assert nats / whole["nats_per_byte"] == pytest.approx(2 * len(TEXT) - first)


def test_a_model_ends_its_text_if_it_has_seen_where_texts_end(tokenized, runs, tmp_path):
    pairs = runs("byte pairs")
    spelled = tmp_path / "spelled.txt"
    spelled.write_text("one.<|endoftext|>two.<|endoftext|>" * 60)
    eos = minillm.load(pairs).tokenizer.eos
    for number, (files, stops) in enumerate(
        [(None, False), (spelled, True), (tokenized("byte pairs"), True)]
    ):
        run = minillm.load(pairs)
        if files is not None:
            run = train(runs, "gpt", files, tmp_path / str(number), steps=1, tokenizer=str(pairs))
        params = run.model.params  # it finds one token far more probable than the others
        params["norm.bias"][:], params["norm.gain"][:], params["embedding.E"][:] = 1, 0, 0
        params["embedding.E"][eos] = 5
        assert run.data["documents"] is stops
        written = run.generate("the", length=9, seed=1)
        assert (written == "the") is stops
        assert "<|endoftext|>" not in written


# --- bad shards -----------------------------------------------------------------------------------


def refused(message, runs, files, out, **settings):
    with pytest.raises(InputError) as caught:
        train(runs, "gpt", files, out, **settings)
    assert message in str(caught.value)


def test_bad_shards_are_named(shards, runs, tmp_path):
    out, bad = tmp_path / "out", shutil.copytree(shards, tmp_path / "bad")
    refused("expected a folder of shards alone", runs, [shards, tmp_path / "a.txt"], out)
    refused("there are no shards in it", runs, tmp_path, out)
    ids = np.fromfile(bad / "00001.bin", np.uint16)
    (ids + 100).tofile(bad / "00001.bin")
    with pytest.raises(InputError, match=r"00001\.bin, token 0: expected an id below"):
        minillm.load(runs("gpt")).evaluate(files=bad)
    (bad / "00001.bin").write_bytes(b"123")
    refused(f"00001.bin: expected {len(ids)} ids of 2 bytes", runs, bad, out)
    assert not out.exists()


def test_nothing_is_trained_on_shards_with_a_flipped_bit(shards, runs, tmp_path):
    """The id is one of the vocabulary, all the same; and a run is not gone on with."""
    bad = shutil.copytree(shards, tmp_path / "bad")
    run = train(runs, "gpt", bad, tmp_path / "run", steps=2, checkpoint_seconds=0)
    file = sorted(bad.glob("*.bin"))[-1]
    ids = np.fromfile(file, np.uint16)
    ids[-1] ^= 1 if ids[-1] != 14 else 2  # of 15
    ids.tofile(file)
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    complaint = f"{file}: expected what was written, found other bytes: it is damaged"
    refused(complaint, runs, bad, run.path, resume=True, steps=4)
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before
    refused(complaint, runs, bad, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_shards_that_are_cut_short_during_the_training_end_it(shards, runs, tmp_path, monkeypatch):
    bad, verify = shutil.copytree(shards, tmp_path / "bad"), Shards.verify

    def then_cut(self, *arguments):
        verify(self, *arguments)
        for file in bad.glob("*.bin"):
            file.write_bytes(b"")

    monkeypatch.setattr(Shards, "verify", then_cut)
    message = ".bin: it has been cut short since it was opened"
    refused(message, runs, bad, tmp_path / "out", steps=50)


def test_shards_of_another_vocabulary(shards, tokenized, runs, tmp_path):
    other = train(runs, "gpt", None, tmp_path / "other", text="some other characters\n" * 200)
    folder = tokenized("gpt")
    with pytest.raises(InputError, match="expected shards of the vocabulary of"):
        other.evaluate(files=folder)
    message = "expected shards of the vocabulary of tokenizer"
    refused(message, runs, shards, tmp_path / "new", tokenizer=str(other.path))


def test_shards_that_have_changed(tokenized, runs, tmp_path):
    folder = tokenized("gpt", out=tmp_path / "shards")
    run = train(runs, "gpt", folder, tmp_path / "run", steps=2)
    tokenized("gpt", size=600, out=folder)
    with pytest.raises(InputError, match="has changed since the run was started"):
        run.evaluate()
    with pytest.raises(InputError, match="has changed since the run was started"):
        minillm.train("gpt", run.path, resume=True, steps=4)
    assert RunFolder(run.path).load_resume()[1]["progress"]["step"] == 2
