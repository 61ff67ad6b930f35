"""n-gram models from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from minillm.cli import main
from minillm.data import builtin_corpus
from minillm.runs.folder import RunFolder

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, text_file):
    folder = str(tmp_path_factory.mktemp("run") / "run")
    assert main(["train", "ngram", text_file, "--order", "3", "--out", folder]) == 0
    return folder


def evaluated(capsys, *args):
    capsys.readouterr()
    assert main(["eval", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def fails(capsys, *args):
    capsys.readouterr()
    assert main([*args]) == 2
    message = capsys.readouterr().err
    assert message.startswith("minillm: ")
    assert message.count("\n") == 1
    return message


def test_train_generate_eval(run_folder, text_file, capsys):
    assert main(["generate", run_folder, "--length", "12", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.lstrip().startswith("the cat sat on the")
    held_out = evaluated(capsys, run_folder)
    assert held_out["unit"] == "word"
    assert held_out["perplexity"] < 2
    other = evaluated(capsys, run_folder, text_file)
    assert other["tokens"] == 60 * 15
    assert other["unknown_share"] == 0
    assert other["perplexity"] == other["perplexity_of_known"] == pytest.approx(1.2, abs=0.2)


@pytest.mark.parametrize("smoothing", ["kneser-ney", "absolute", "witten-bell", "add-k", "mle"])
def test_every_smoothing_of_characters(tmp_path, text_file, capsys, smoothing):
    folder = str(tmp_path / "run")
    options = ["--unit", "character", "--order", "6", "--smoothing", smoothing]
    assert main(["train", "ngram", text_file, "--out", folder, *options]) == 0
    assert evaluated(capsys, folder)["bits_per_token"] < 1


def test_counting_on_the_disk_is_counting_in_memory(tmp_path):
    text = tmp_path / "text"
    text.write_text(builtin_corpus()[:300_000])
    models = []
    for memory in ("2G", "1K"):
        folder = tmp_path / memory
        arguments = ["--unit", "character", "--order", "4", "--memory", memory]
        assert main(["train", "ngram", str(text), "--out", str(folder), *arguments]) == 0
        models.append((folder / "model.safetensors").read_bytes())
    assert models[0] == models[1]


def test_export_and_import(tmp_path, run_folder, text_file, capsys):
    arpa, again = str(tmp_path / "model.arpa.gz"), str(tmp_path / "again.arpa.gz")
    folder = str(tmp_path / "imported")
    assert main(["export", run_folder, arpa]) == 0
    assert main(["import", arpa, "--out", folder]) == 0
    assert main(["export", folder, again]) == 0
    assert Path(arpa).read_bytes() == Path(again).read_bytes()
    spaced = tmp_path / "spaced.txt"
    spaced.write_text(TEXT.replace(".", " ."))
    ours = evaluated(capsys, run_folder, text_file)
    for text in (text_file, str(spaced)):
        theirs = evaluated(capsys, folder, text)
        assert theirs["nats_per_token"] == pytest.approx(ours["nats_per_token"])
    assert "give the text to measure it on" in fails(capsys, "eval", folder)
    assert main(["generate", folder, "--length", "40", "--prompt", "the cat sat on the mat"]) == 0
    written = capsys.readouterr().out
    assert "." in written
    assert " ." not in written


def test_unknown_words_are_counted_apart(tmp_path, run_folder, capsys):
    text = tmp_path / "text"
    text.write_text("the cat sat on the sofa .\n")
    results = evaluated(capsys, run_folder, str(text))
    assert results["unknown_share"] == 1 / 8
    assert results["perplexity_of_known"] < results["perplexity"]


def test_bad_input(tmp_path, run_folder, text_file, capsys):
    out = str(tmp_path / "new")
    assert "already holds a run" in fails(capsys, "train", "ngram", text_file, "--out", run_folder)
    for arguments, message in [
        ((str(tmp_path / "none"),), "there is no such file"),
        ((text_file, "--prune", "2", "1"), "--prune: expected counts that do not fall"),
    ]:
        assert message in fails(capsys, "train", "ngram", *arguments, "--out", out)
        assert not (tmp_path / "new").exists()
    with pytest.raises(SystemExit):
        main(["train", "ngram", text_file, "--out", out, "--memory", "much"])
    damaged = tmp_path / "damaged.arpa"
    damaged.write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t<s>\nx\ta\n\n\\end\\\n")
    message = fails(capsys, "import", str(damaged), "--out", out)
    assert "line 6: expected numbers" in message
    assert not (tmp_path / "new").exists()
    message = fails(capsys, "generate", run_folder, "--prompt", "the sofa")
    assert "'sofa' is not among" in message


def test_a_damaged_folder(tmp_path, text_file, capsys):
    folder = tmp_path / "run"
    assert main(["train", "ngram", text_file, "--out", str(folder)]) == 0
    model = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(model[:-100])
    assert "damaged" in fails(capsys, "eval", str(folder))
    (folder / "model.safetensors").write_bytes(model)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["sizes"] = config["model"]["sizes"][:2]
    (folder / "config.json").write_text(json.dumps(config))
    assert "sizes do not agree" in fails(capsys, "eval", str(folder))


def test_pruning_makes_a_smaller_model(tmp_path, capsys):
    for name, prune in (("whole", []), ("pruned", ["--prune", "0", "1"])):
        folder = tmp_path / name
        arguments = ["train", "ngram", "--order", "3", "--out", str(folder), *prune]
        assert main(arguments) == 0
    sizes = [
        json.loads((tmp_path / name / "config.json").read_text())["model"]["sizes"]
        for name in ("whole", "pruned")
    ]
    assert sizes[0][:2] == sizes[1][:2]
    assert np.less(sizes[1][2], sizes[0][2] / 2)


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
def test_lengths_without_ngrams_go_through_every_command(tmp_path, capsys, text, options):
    file, run, other = tmp_path / "text", str(tmp_path / "run"), str(tmp_path / "other")
    arpa = str(tmp_path / "model.arpa")
    file.write_text(text)
    assert main(["train", "ngram", str(file), "--out", run, *options]) == 0
    assert main(["export", run, arpa]) == 0
    assert main(["import", arpa, "--out", other]) == 0
    for folder in (run, other):
        assert main(["generate", folder, "--length", "5", "--seed", "1"]) == 0
        ours = evaluated(capsys, folder, str(file))
        assert ours["tokens"] > 0
        tokens = json.loads((Path(folder) / "vocabulary.json").read_text())["tokens"]
        assert "\n" in tokens


@pytest.mark.usefixtures("both_twins")
def test_a_model_with_damaged_contents_is_refused(tmp_path, text_file, capsys):
    """Its look-ups would read far beyond the arrays."""
    folder = tmp_path / "run"
    assert main(["train", "ngram", text_file, "--order", "3", "--out", str(folder)]) == 0
    path = folder / "model.safetensors"
    for name, at, value in (("first.2", 1, 2**31 - 1), ("first.3", 1, -(2**31)), ("word.2", 0, 99)):
        arrays, values = load_file(path), path.read_bytes()
        arrays[name][at] = value
        RunFolder(folder).save_model(arrays, {})
        message = fails(capsys, "eval", str(folder), text_file)
        assert f"model.safetensors do not fit, or are damaged: {name}: expected" in message
        path.write_bytes(values)
