"""n-gram models from the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import TEXT

from minillm.cli import main
from minillm.data import builtin_corpus
from minillm.runs.folder import RunFolder


def test_train_generate_eval(ngram, text_file, capsys, evaluated):
    assert main(["generate", str(ngram), "--length", "12", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.lstrip().startswith("the cat sat on the")
    held_out = evaluated(ngram)
    assert held_out["unit"] == "word"
    assert held_out["perplexity"] < 2
    other = evaluated(ngram, text_file)
    assert other["tokens"] == 60 * 15
    assert other["unknown_share"] == 0
    assert other["perplexity"] == other["perplexity_of_known"] == pytest.approx(1.2, abs=0.2)


@pytest.mark.parametrize("smoothing", ["kneser-ney", "absolute", "witten-bell", "add-k", "mle"])
def test_every_smoothing_of_characters(tmp_path, text_file, evaluated, smoothing):
    folder = str(tmp_path / "run")
    options = ["--unit", "character", "--order", "6", "--smoothing", smoothing]
    assert main(["train", "ngram", text_file, "--out", folder, *options]) == 0
    assert evaluated(folder)["bits_per_token"] < 1


def test_export_and_import(tmp_path, ngram, text_file, capsys, evaluated, fails):
    arpa, again = str(tmp_path / "model.arpa.gz"), str(tmp_path / "again.arpa.gz")
    folder = str(tmp_path / "imported")
    assert main(["export", str(ngram), arpa]) == 0
    assert main(["import", arpa, "--out", folder]) == 0
    assert main(["export", folder, again]) == 0
    assert Path(arpa).read_bytes() == Path(again).read_bytes()
    spaced = tmp_path / "spaced.txt"
    spaced.write_text(TEXT.replace(".", " ."))
    ours = evaluated(ngram, text_file)
    for text in (text_file, str(spaced)):
        theirs = evaluated(folder, text)
        assert theirs["nats_per_token"] == pytest.approx(ours["nats_per_token"])
    assert "give the text to measure it on" in fails("eval", folder)
    words = "the cat sat on the mat"
    assert main(["generate", folder, "--length", "40", "--seed", "1", "--prompt", words]) == 0
    written = capsys.readouterr().out
    assert "." in written
    assert " ." not in written


def test_unknown_words_are_counted_apart(tmp_path, ngram, evaluated):
    text = tmp_path / "text"
    text.write_text("the cat sat on the sofa .\n")
    results = evaluated(ngram, str(text))
    assert results["unknown_share"] == 1 / 8
    assert results["perplexity_of_known"] < results["perplexity"]


def test_bad_input(tmp_path, ngram, text_file, fails):
    out = str(tmp_path / "new")
    assert "already holds a run" in fails("train", "ngram", text_file, "--out", ngram)
    for arguments, message in [
        ((str(tmp_path / "none"),), "there is no such file"),
        ((text_file, "--prune", "2", "1"), "--prune: expected counts that do not fall"),
    ]:
        assert message in fails("train", "ngram", *arguments, "--out", out)
        assert not (tmp_path / "new").exists()
    damaged = tmp_path / "damaged.arpa"
    damaged.write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t<s>\nx\ta\n\n\\end\\\n")
    message = fails("import", str(damaged), "--out", out)
    assert "line 6: expected 2 1-grams: log10 p" in message
    assert not (tmp_path / "new").exists()
    message = fails("generate", ngram, "--prompt", "the sofa")
    assert "'sofa' is not among" in message


def test_a_text_beyond_memory_is_refused_before_it_is_counted(
    tmp_path, text_file, fails, monkeypatch
):
    monkeypatch.setattr("minillm.training.ngram.MOST_TOKENS", 500)
    message = fails("train", "ngram", text_file, "--out", str(tmp_path / "new"))
    assert message.splitlines()[-1].startswith(
        f"minillm: {text_file}: expected at most 500 tokens, whose n-grams fit into the memory"
    )
    assert "lmplz of KenLM" in message
    assert not (tmp_path / "new").exists()


def test_a_damaged_folder(tmp_path, ngram, fails):
    folder = shutil.copytree(ngram, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["sizes"] = config["model"]["sizes"][:2]
    (folder / "config.json").write_text(json.dumps(config))
    assert "sizes do not agree" in fails("eval", str(folder))


def test_pruning_makes_a_smaller_model(tmp_path):
    (tmp_path / "text").write_text(builtin_corpus()[:50_000])
    for name, prune in (("whole", []), ("pruned", ["--prune", "0", "1"])):
        folder = tmp_path / name
        arguments = ["train", "ngram", str(tmp_path / "text"), "--out", str(folder), *prune]
        assert main(arguments) == 0
    sizes = [
        json.loads((tmp_path / name / "config.json").read_text())["model"]["sizes"]
        for name in ("whole", "pruned")
    ]
    assert sizes[0][:2] == sizes[1][:2]
    assert np.less(sizes[1][2], sizes[0][2] / 2)


@pytest.mark.deep
@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("ab\n", ["--order", "5"]),
        ("ab", ["--order", "5", "--unit", "character"]),
        (TEXT, ["--prune", "1000000"]),
        (TEXT, ["--prune", "0", "1000000", "--unit", "character"]),
        ("the cat sat on the mat " * 100, ["--vocabulary", "2"]),
        ("the cat sat on the mat " * 100, ["--vocabulary", "3", "--prune", "0", "5000"]),
        ("the cat sat on the mat " * 100, ["--unit", "character"]),
    ],
)
def test_lengths_without_ngrams_go_through_every_command(tmp_path, evaluated, text, options):
    file, run, other = tmp_path / "text", str(tmp_path / "run"), str(tmp_path / "other")
    arpa = str(tmp_path / "model.arpa")
    file.write_text(text)
    assert main(["train", "ngram", str(file), "--out", run, *options]) == 0
    assert main(["export", run, arpa]) == 0
    assert main(["import", arpa, "--out", other]) == 0
    for folder in (run, other):
        assert main(["generate", folder, "--length", "5", "--seed", "1"]) == 0
        ours = evaluated(folder, str(file))
        assert ours["tokens"] > 0
        tokens = json.loads((Path(folder) / "vocabulary.json").read_text())["tokens"]
        assert "\n" in tokens


@pytest.mark.usefixtures("both_twins")
def test_a_model_with_damaged_contents_is_refused(tmp_path, ngram, text_file, fails):
    """Its look-ups would read far beyond the arrays."""
    folder = shutil.copytree(ngram, tmp_path / "run")
    path = folder / "model.safetensors"
    for name, at, value in (("first.2", 1, 2**31 - 1), ("first.3", 1, -(2**31)), ("word.2", 0, 99)):
        arrays, values = load_file(path), path.read_bytes()
        arrays[name][at] = value
        RunFolder(folder).save_model(arrays, {})
        message = fails("eval", str(folder), text_file)
        assert f"model.safetensors do not fit, or are damaged: {name}: expected" in message
        path.write_bytes(values)
