"""The command line of Mamba: what it shares with that of a recurrent model is tested there."""

import re
from dataclasses import replace

import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.runs.config import read_config, save_run
from minillm.runs.folder import RunFolder

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
    assert "the best n-gram" in (tmp_path / "look.html").read_text()
    assert main(["generate", str(mamba), "--length", "5"]) == 0


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
    assert re.search("expected a run of gpt or chat .* found 'mamba'", fails(verb, mamba))


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
