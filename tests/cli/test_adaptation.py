"""A language model on general text and then on a domain's: what is reported."""

import re

import numpy as np
import pytest

import minillm
from minillm.cli import main

GENERAL = "the cat sat on the mat and the big fish was in the dog.\n" * 60
DOMAIN = "a boat is on the sea. no boat is at home.\n" * 60
BLOCKS = ["--width", "8", "--heads", "2", "--layers", "1", "--context", "16"]
KINDS = {
    "bert": [*BLOCKS, "--vocabulary", "60"],
    "gpt": BLOCKS,
    "lm": ["--hidden", "8", "--embedding", "4", "--cell", "gru"],
}
LINE = re.compile(r"(gained|(?:not )?forgotten): perplexity on (.*): (\S+) before, (\S+) after")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "general.txt").write_text(GENERAL)
    (folder / "domain.txt").write_text(DOMAIN)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory, files):
    """A run of each kind on the general text: not to be changed."""
    folder = tmp_path_factory.mktemp("bases")
    for kind, sizes in KINDS.items():
        command = ["train", kind, str(files / "general.txt"), "--out", str(folder / kind)]
        assert main([*command, *sizes, "--steps", "60", "--batch", "8"]) == 0
    return folder


@pytest.fixture
def adapted(bases, files, tmp_path, capsys):
    """Adapts a run to the domain; returns the perplexities by word, (text, before, after)."""

    def run(kind, *options, name="adapted"):
        out = tmp_path / name
        command = ["train", kind, files / "domain.txt", "--init", bases / kind, "--out", out]
        capsys.readouterr()
        assert main([*map(str, command), "--steps", "60", "--batch", "8", *options]) == 0
        found = LINE.findall(capsys.readouterr().out)
        return {word: (text, float(a), float(b)) for word, text, a, b in found}

    return run


@pytest.mark.deep
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_gained_and_forgotten_is_what_eval_says(kind, adapted, bases, tmp_path, files):
    report = adapted(kind, "--learning-rate", "0.02")
    text, before, after = report["gained"]
    assert text.endswith("domain.txt")
    assert after < before
    run, base = minillm.load(tmp_path / "adapted"), minillm.load(bases / kind)
    name = "nats_per_masked_token" if kind == "bert" else "nats_per_token"
    assert after == pytest.approx(np.exp(run.evaluate()[name]), rel=1e-3)
    text, before, after = report["forgotten"]
    assert text.endswith("general.txt")
    assert after > before
    assert before == pytest.approx(np.exp(base.evaluate()[name]), rel=1e-3)


def test_more_of_the_same_text_is_nothing_forgotten(bases, files, tmp_path, capsys):
    command = ["train", "gpt", str(files / "general.txt"), "--init", str(bases / "gpt")]
    capsys.readouterr()
    assert main([*command, "--steps", "60", "--out", str(tmp_path / "more")]) == 0
    (gained, *_), (kept, _, before, after) = LINE.findall(capsys.readouterr().out)
    assert (gained, kept) == ("gained", "not forgotten")
    assert float(after) < float(before)


def test_a_general_text_that_is_gone(files, tmp_path, capsys):
    text = tmp_path / "gone.txt"
    text.write_text(GENERAL)
    base = tmp_path / "base"
    command = ["train", "gpt", str(text), "--out", str(base), *BLOCKS, "--steps", "2"]
    assert main(command) == 0
    text.unlink()
    command = ["train", "gpt", str(files / "domain.txt"), "--init", str(base), "--steps", "2"]
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "adapted")]) == 0
    printed = capsys.readouterr().out
    assert "gained: perplexity on" in printed
    assert f"forgotten: not measured: {text}: " in printed
