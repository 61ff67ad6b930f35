"""A kind of model that is declared in this file alone goes through every command."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.layers.fresh import ParamSpec, normal
from minillm.models.base import WindowModel
from minillm.runs.kind import TITLES, find_kind
from minillm.runs.kinds.language import TextRun, text_kind
from minillm.runs.settings import TrainingSettings, WindowSettings, settings

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60


# --- the model -------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnigramConfig:
    vocabulary: int
    scale: float = 1.0


class Unigram(WindowModel):
    """P(id) = softmax(scale logits), whatever came before."""

    @staticmethod
    def new_parameters(config):
        return {"logits": ParamSpec((config.vocabulary,), normal())}

    def zero_state(self, B):
        return {"seen": np.zeros(B, np.float32)}

    def forward(self, ids, state, rng=None):
        logits = np.tile(self.config.scale * self.params["logits"], (*ids.shape, 1))

        def backward(dlogits):
            return {"logits": self.config.scale * dlogits.sum(axis=(0, 1))}

        return (logits, {"seen": state["seen"] + ids.shape[1]}), backward

    def read(self, ids, state):
        logits = np.tile(self.config.scale * self.params["logits"], (len(ids), 1))
        return logits, {"seen": state["seen"] + ids.shape[1]}


# --- the kind: the one declaration ---------------------------------------------------------------


UNIGRAM = text_kind(
    name="toy-unigram",
    description="Learn how frequent each token is.",
    examples="  minillm train toy-unigram --out runs/toy",
    run=TextRun,
    model=Unigram,
    config=UnigramConfig,
    settings=settings(
        WindowSettings,
        TrainingSettings,
        config=UnigramConfig,
        sizes="scale",
        scale={"help": "of the logits", "metavar": "S", "above": 0, "most": 10},
        window={"default": 8, "most": 100},
    ),
)
TITLES["toy-unigram"] = "A kind of model that is declared in this file alone"


# --- what follows from it --------------------------------------------------------------------


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


def test_a_toy_kind_goes_through_every_command(text_file, tmp_path, capsys):
    out = str(tmp_path / "run")
    train = ["train", "toy-unigram", "--out", out]
    options = ["--learning-rate", "0.1", "--batch", "4", "--scale", "2"]
    assert main([*train, text_file, "--steps", "40", *options]) == 0
    assert "trained after 40 steps" in (printed := capsys.readouterr().out)
    assert "sample:\n\n" in printed
    assert main([*train, "--resume", "--steps", "300"]) == 0
    assert "trained after 300 steps" in capsys.readouterr().out

    assert main(["eval", out, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    frequencies = np.unique(list(TEXT), return_counts=True)[1] / len(TEXT)
    entropy = -(frequencies * np.log(frequencies)).sum()
    assert results["nats_per_token"] == pytest.approx(entropy, abs=0.05)

    assert main(["generate", out, "--prompt", "the ", "--length", "9", "--seed", "1"]) == 0
    written = capsys.readouterr().out
    run = minillm.load(out)
    assert "".join(run.write("the ", length=9, seed=1)) + "\n" == written
    assert run.settings.scale == 2
    assert run.model.config == UnigramConfig(len(run.tokenizer), 2.0)
    assert run.kind is UNIGRAM is find_kind("toy-unigram")


def test_its_options_are_checked_and_its_help_is_there(tmp_path, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    assert TITLES["toy-unigram"] in " ".join(capsys.readouterr().out.split())
    for options, complaint in [
        (["--scale", "0"], "--scale: expected a number above 0 and at most 10, found '0'"),
        (["--window", "101"], "--window: expected a whole number from 1 to 100, found 101"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            main(["train", "toy-unigram", "--out", str(tmp_path / "run"), *options])
        assert complaint in capsys.readouterr().err
