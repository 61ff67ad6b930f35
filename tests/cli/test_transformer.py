"""The command line of the Transformer: what it does otherwise than the recurrent model."""

import io
import json
import re
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import minillm
from minillm.cli import main
from minillm.runs.kinds.pairs import MUON_RATE

TINY = ["--width", "8", "--heads", "2", "--layers", "2", "--feed-forward", "12", "--batch", "8"]
WORDS = ["one", "two", "three", "four", "five"]


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    triples = [[WORDS[k % 5], WORDS[k // 5 % 5], WORDS[k // 25 % 5]] for k in range(60)]
    path.write_text("".join(f"{' '.join(t)}\t{' '.join(t[::-1])}\n" for t in triples))
    return str(path)


def train(pair_file, folder, *options):
    command = ["train", "transformer", pair_file, "--out", str(folder), *TINY]
    return main([*command, "--minimum-count", "1", *options])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, pair_file):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert train(pair_file, folder, "--steps", "20") == 0
    return str(folder)


def test_train_translate_eval_plot(run_folder, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one two three\nfive four\n")))
    assert main(["translate", run_folder, "--beam", "3", "--n-best", "2"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    assert main(["eval", run_folder, "--json", "--beam", "2"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert {"nats_per_token", "exact_match", "bleu"} <= results.keys()
    picture = tmp_path / "attention.png"
    for options, told in (
        ([], "layer 0, mean over the heads"),
        (["--layer", "1"], "layer 1, mean over the heads"),
        (["--head", "0"], "layer 0, head 0"),
        (["--layer", "0", "--head", "1"], "layer 0, head 1"),
    ):
        arguments = ["plot", "attention", run_folder, "one two three", "--to", str(picture)]
        capsys.readouterr()
        assert main([*arguments, *options]) == 0
        assert capsys.readouterr().out.startswith(f"{picture}\n{told} (of 2 layers ")
        assert picture.read_bytes().startswith(b"\x89PNG")
        picture.unlink()


def test_the_weights_of_a_layer_and_a_head(run_folder):
    run = minillm.load(run_folder)
    best = run.hypotheses(["one two three"], keep_weights=True)[0][0].hypothesis
    found = run.trace("one two three").attention[0].weights
    np.testing.assert_allclose(found[0].mean(axis=0), best.weights, atol=1e-6)  # of 2 layers


def test_muon_unless_a_run_begins_with_another(run_folder, pair_file, tmp_path):
    """Its rate is its own: AdamW keeps the one that it has with a run of --init, or without."""

    def chosen(*options):
        assert train(pair_file, tmp_path / "run", *options, "--steps", "1", "--overwrite") == 0
        return optimiser_of(tmp_path / "run")

    def optimiser_of(folder):
        settings = minillm.load(folder).settings
        return settings.optimiser, settings.learning_rate

    assert optimiser_of(run_folder) == ("muon", MUON_RATE)
    assert chosen("--optimiser", "adamw") == ("adamw", 2e-3)
    assert chosen("--learning-rate", "0.01") == ("muon", 0.01)
    command = ["train", "transformer", pair_file, "--init", run_folder, "--steps", "1"]
    for lora, rate in ((), 6e-4), (("--lora-rank", "1"), 2e-3):
        out = tmp_path / f"adapted{len(lora)}"
        assert main([*command, "--out", str(out), *lora]) == 0
        assert optimiser_of(out) == ("adamw", pytest.approx(rate))


def test_one_vocabulary_for_both_sides(tmp_path, pair_file):
    options = ["--joint", "--unit", "bpe", "--vocabulary", "270", "--post-norm"]
    options += ["--schedule", "inverse-sqrt", "--steps", "3"]
    assert train(pair_file, tmp_path / "run", *options) == 0
    run = minillm.load(str(tmp_path / "run"))
    assert run.source.to_dict() == run.target.to_dict()
    assert run.model.config.post_norm
    assert run.model.params["embedding.E"].shape == (len(run.target) + 1, 8)
    names = load_file(tmp_path / "run" / "model.safetensors").keys()
    assert not {"source.E", "target.E", "output.W", "encoder.norm.gain"} & names


@pytest.mark.parametrize("option", [["--layer", "2"], ["--head", "2"]])
def test_bad_input_to_the_picture(run_folder, capsys, option):
    assert main(["plot", "attention", run_folder, "one", *option]) == 2
    assert re.search(rf"{option[0]}: expected 0 to 1, found 2", capsys.readouterr().err)
