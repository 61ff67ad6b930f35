"""n-gram models: smoothing, pruning, ARPA files, and damaged ones."""

import shutil

import numpy as np
import pytest
from kind_rows import TEXT
from safetensors.numpy import load_file

import minillm
from minillm.cli import main
from minillm.data import builtin_corpus
from minillm.errors import InputError
from minillm.runs.folder import RunFolder


def train(text=TEXT, out=None, **settings):
    return minillm.train("ngram", out, text=text, quiet=True, **settings)


def test_every_smoothing_is_another_model():
    every = ("kneser-ney", "absolute", "witten-bell", "add-k", "mle")
    runs = [train(unit="character", order=6, smoothing=smoothing) for smoothing in every]
    losses = {run.evaluate()["bits_per_token"] for run in runs}
    assert max(losses) < 1
    assert len(losses) == 5


def test_words(runs):
    run = minillm.load(runs("ngram"))
    assert run.generate(length=12, temperature=0).lstrip().startswith("the cat sat on the")
    assert run.evaluate()["perplexity"] < 2
    results = run.evaluate(TEXT)
    assert results["tokens"] == 60 * 15
    assert results["unknown_share"] == 0
    assert results["perplexity"] == results["perplexity_of_known"] == pytest.approx(1.2, abs=0.2)
    results = run.evaluate("the cat sat on the sofa .\n")
    assert results["unknown_share"] == 1 / 8
    assert results["perplexity_of_known"] < results["perplexity"]


def test_byte_pairs():
    run = train(unit="bpe", vocabulary=280, order=4)
    assert run.evaluate()["perplexity"] < 2
    assert run.generate(length=12, temperature=0)


def there_and_back(run, folder):
    """The run of its ARPA file."""
    arpa, out = folder / "model.arpa.gz", folder / "imported"
    run.export(arpa)
    assert main(["import", str(arpa), "--out", str(out)]) == 0
    return minillm.load(out)


def test_an_arpa_file_has_the_same_figures(runs, tmp_path):
    run = minillm.load(runs("ngram"))
    imported = there_and_back(run, tmp_path)
    imported.export(tmp_path / "again.arpa.gz")
    again = (tmp_path / "again.arpa.gz").read_bytes()
    assert (tmp_path / "model.arpa.gz").read_bytes() == again
    for text in (TEXT, TEXT.replace(".", " .")):
        theirs = imported.evaluate(text)["nats_per_token"]
        assert theirs == pytest.approx(run.evaluate(TEXT)["nats_per_token"])
    with pytest.raises(InputError, match="give the text to measure it on"):
        imported.evaluate()
    written = imported.generate("the cat sat on the mat", length=40, seed=1)
    assert "." in written
    assert " ." not in written


def test_pruning_makes_a_smaller_model():
    text = builtin_corpus()[:50_000]
    whole, pruned = (train(text, prune=prune).config.sizes for prune in ([], [0, 1]))
    assert whole[:2] == pruned[:2]
    assert np.less(pruned[2], whole[2] / 2)


# --- what is refused ------------------------------------------------------------------------------


def test_a_text_beyond_memory_is_refused_before_it_is_counted(monkeypatch, tmp_path):
    monkeypatch.setattr("minillm.training.ngram.MOST_TOKENS", 500)
    beyond = "text: expected at most 500 tokens, whose n-grams fit into the memory.*lmplz of KenLM"
    with pytest.raises(InputError, match=f"(?s){beyond}"):
        train(out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_damaged_arpa_file(tmp_path, capsys):
    damaged = tmp_path / "damaged.arpa"
    damaged.write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t<s>\nx\ta\n\n\\end\\\n")
    assert main(["import", str(damaged), "--out", str(tmp_path / "new")]) == 2
    assert "line 6: expected 2 1-grams: log10 p" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_model_with_damaged_contents_is_refused(runs, tmp_path):
    """Its look-ups would read far beyond the arrays: see tests/models/test_ngram.py."""
    folder = shutil.copytree(runs("ngram"), tmp_path / "run")
    arrays = load_file(folder / "model.safetensors")
    arrays["first.2"][1] = 2**31 - 1
    RunFolder(folder).save_model(arrays, {})
    damaged = r"model\.safetensors do not fit, or are damaged: first\.2: expected"
    with pytest.raises(InputError, match=damaged):
        minillm.load(folder).evaluate(TEXT)
