"""The command line of Mamba: what it shares with that of a recurrent model is tested there."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import metrics, stopped_after

import minillm
from minillm.cli import main
from minillm.runs.config import read_config, save_run
from minillm.runs.folder import RunFolder
from minillm.training.language_model import LanguageModelTask

TINY = ["--width", "8", "--state", "3", "--layers", "2", "--window", "8", "--batch", "4"]


@pytest.fixture(scope="module")
def mamba(tmp_path_factory, text_file):
    """A Mamba of four steps over byte pairs, to be read."""
    out = tmp_path_factory.mktemp("mamba") / "run"
    options = ["--unit", "bpe", "--vocabulary", "270", "--steps", "4"]
    assert main(["train", "mamba", text_file, "--out", str(out), *TINY, *options]) == 0
    return out


def test_a_run_writes_is_measured_and_looked_at(mamba, tmp_path, capsys):
    run = minillm.load(mamba)
    assert run.model.config.inner == 16
    assert run.settings.learning_rate == pytest.approx(1.3 / 8)
    assert 0 < run.evaluate()["nats_per_token"] < 6
    written = run.generate("the ", length=20, seed=1)
    assert written.startswith("the ")
    assert run.generate("the ", length=20, seed=1) == written
    assert main(["look", str(mamba), "the cat", "--out", str(tmp_path / "look.html")]) == 0
    assert "tanh(y), output" in (tmp_path / "look.html").read_text()
    assert main(["generate", str(mamba), "--length", "5"]) == 0


@pytest.mark.parametrize(
    "command",
    [
        ["mamba", *TINY, "--dropout", "0.1"],
        ["lm", "--cell", "min_gru", "--hidden", "8", "--layers", "2", "--batch", "4"],
        ["lm", "--cell", "min_lstm", "--hidden", "8", "--tied", "--batch", "4"],
    ],
    ids=["mamba", "min_gru", "min_lstm"],
)
def test_resumed_equals_uninterrupted(command, text_file, tmp_path):
    """Ctrl-C in the middle, and then to the same number of steps: bit for bit."""
    kind, *options = command
    train = ["train", kind, text_file, *options, "--steps", "12", "--out"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*train, str(whole)]) == 0
    stopped_after(7, [*train, str(parts)], LanguageModelTask)
    state = load_file(parts / "resume.safetensors")
    assert any("layers." in name and name.endswith(".h") and a.any() for name, a in state.items())
    assert main(["train", kind, "--out", str(parts), "--resume"]) == 0
    assert metrics(parts) == metrics(whole)
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_out_to_transformers_and_back(mamba, tmp_path, fails):
    folder, again = tmp_path / "theirs", tmp_path / "again"
    assert main(["export", str(mamba), str(folder)]) == 0
    assert main(["import", str(folder), "--out", str(again)]) == 0
    run, opened = minillm.load(mamba), minillm.load(again)
    assert opened.kind.name == "mamba"
    assert opened.model.config == run.model.config
    for name, array in run.model.params.items():
        np.testing.assert_array_equal(opened.model.params[name], array)
    greedy = {"length": 9, "temperature": 0}
    assert minillm.load(folder).generate(**greedy) == opened.generate(**greedy)
    assert "--format: a run of mamba" in fails("export", mamba, "--format", "gguf")


@pytest.mark.parametrize("options", [[], ["--lora-rank", "1"]])
def test_one_text_after_another(mamba, text_file, tmp_path, options):
    """An imported model keeps what no option sets: eps, an output of its own, more rows."""
    source = minillm.load(mamba)
    config = replace(source.model.config, eps=0.01, tied=False, vocabulary=272)
    folder, params = RunFolder(tmp_path / "imported"), dict(source.model.params)
    params["embedding.E"] = np.concatenate([params["embedding.E"], np.ones((2, 8), np.float32)])
    params["output.W"] = params["embedding.E"].T.copy()
    stored = replace(read_config(source.folder), config=config)
    save_run(folder, stored, params, {"tokenizer": source.tokenizer})
    out = str(tmp_path / "adapted")
    train = ["train", "mamba", text_file, "--init", str(folder.path), "--out", out, "--steps", "2"]
    assert main([*train, *options]) == 0
    opened = minillm.load(out)
    assert opened.model.config == config
    assert opened.settings.learning_rate == pytest.approx((1.3 if options else 0.39) / 8)
    assert main(["train", "mamba", "--out", out, "--resume", "--steps", "3"]) == 0
    assert 0 < minillm.load(out).evaluate()["nats_per_token"] < 6


@pytest.mark.parametrize("verb", ["chat", "serve"])
def test_it_does_not_answer(mamba, fails, verb):
    if verb == "serve":
        pytest.importorskip("uvicorn")
    assert "expected a run of a Transformer that writes, such as a gpt, found 'mamba'" in fails(
        verb, mamba
    )


def test_verbs_of_other_kinds(mamba, text_file, tmp_path, fails):
    assert "found 'mamba'" in fails("translate", mamba)
    assert "found one of mamba" in fails("quantise", mamba, "--to", "q8_0", "--out", tmp_path / "q")
    options = ["--lora-rank", "2", "--out", tmp_path / "out", "--steps", "1"]
    assert "--lora-rank: expected at most 1, the smaller side of layers.0.step.W" in fails(
        "train", "mamba", text_file, "--init", mamba, *options
    )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--state", "0", "--state: expected a whole number from 1 to 65536, found 0"),
        ("--convolution", "1", "--convolution: expected a whole number from 2 to 1000, found 1"),
        ("--hidden", "3", "'--hidden'"),
    ],
)
def test_wrong_options(text_file, tmp_path, fails, option, value, message):
    out = ["--out", tmp_path / "run", option, value]
    assert message in fails("train", "mamba", text_file, *out)
