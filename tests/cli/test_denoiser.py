"""Pre-training on texts, then on pairs: train transformer --denoise, and --init."""

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import metrics, stopped_after

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.training.minibatches import MinibatchTask

SIZES = ["--width", "16", "--heads", "2", "--layers", "1", "--feed-forward", "32"]
TINY = [*SIZES, "--vocabulary", "300", "--max-source", "32", "--batch", "8"]
ANIMALS, PLACES = ["dog", "cat", "cow", "hen"], ["mat", "log", "bed"]


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    rng = np.random.default_rng(0)
    lines = [f"The {rng.choice(ANIMALS)} sat\non the {rng.choice(PLACES)}." for _ in range(120)]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(f"The {a} sat on the {p}.\t{a}\n" for a in ANIMALS for p in PLACES))
    return str(path)


def train(text_file, folder, *options):
    return main(
        ["train", "transformer", str(text_file), "--denoise", "--out", str(folder), *options]
    )


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, text_file):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert train(text_file, folder, *TINY, "--steps", "12") == 0
    return str(folder)


def test_one_vocabulary_with_a_mask(run_folder):
    run = minillm.load(run_folder)
    assert run.kind.name == "denoiser"
    assert run.tokenizer.to_dict() == run.source.to_dict() == run.target.to_dict()
    assert run.tokenizer.encode("<mask>").tolist() == [run.tokenizer.mask]
    assert run.model.params["embedding.E"].shape == (len(run.tokenizer) + 1, 16)
    assert run.data["longest_target"] <= 33


def test_the_sample_and_eval(run_folder, text_file, tmp_path, capsys):
    folder = tmp_path / "run"
    assert train(text_file, folder, *TINY, "--steps", "2") == 0
    shown = capsys.readouterr().out
    assert re.search(r"training passages\n\d+ validation passages\n", shown)
    assert re.search(r"held-out examples: .*\n  .*<mask>.*\n    -> .*\n    == The ", shown)
    assert main(["eval", run_folder, "--json", "--beam", "1"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["data"].startswith("the held-out last tenth of ")
    assert 0 < results["nats_per_token"] < 6
    assert results["exact_match"] <= 1
    assert main(["eval", run_folder, text_file, "--json", "--beam", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == text_file
    run = minillm.load(run_folder)
    assert run.evaluate(text="The dog sat. The cat ran.", beam=1)["sources"] == 1


def test_translate_fills_a_mask_with_the_space_before_it(run_folder, monkeypatch, capsys):
    run = minillm.load(run_folder)
    both = run.hypotheses(["The <mask> sat.", "The<mask> sat."], beam=2)
    assert both[0][0].hypothesis.ids == both[1][0].hypothesis.ids
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"The <mask> sat.\n")))
    assert main(["translate", run_folder]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_resumed_equals_uninterrupted(text_file, tmp_path):
    """To the same number of steps, from a stop in the second epoch: bit for bit."""
    command = ["train", "transformer", "--denoise", text_file, *TINY, "--steps", "24"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*command, "--out", str(whole)]) == 0
    assert minillm.load(whole).folder.read_metrics()[-1]["step"] == 24
    stopped_after(17, [*command, "--out", str(parts)], MinibatchTask)
    assert main(["train", "transformer", "--denoise", "--out", str(parts), "--resume"]) == 0
    assert metrics(parts) == metrics(whole)
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


RHYME = """Hickory dickory dock. The mouse ran up the clock. It struck one. Down he came.
Little Bo Peep has lost her sheep. She left them alone. Jack fell and broke his crown."""


def test_it_learns_to_restore_a_text(tmp_path):
    """Each sentence is a passage, and any part of it tells which one it is."""
    path = tmp_path / "rhyme.txt"
    path.write_text("\n".join([RHYME] * 30))
    options = ["--vocabulary", "330", "--max-source", "16", "--width", "32", "--dropout", "0"]
    options += ["--steps", "150", "--batch", "16", "--learning-rate", "5e-3"]
    assert train(path, tmp_path / "run", *SIZES, *options) == 0
    run = minillm.load(tmp_path / "run")
    results = run.evaluate(beam=1)
    assert results["exact_match"] > 0.6
    assert results["nats_per_token"] < 0.5
    assert run.translate("The mouse <mask> clock.") == "The mouse ran up the clock."


# --- then on pairs -------------------------------------------------------------------------------


def test_pairs_begin_with_all_that_it_has(run_folder, pair_file, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "transformer", pair_file, "--init", run_folder, "--steps", "2"]
    assert main([*command, "--learning-rate", "1e-9", "--out", str(out)]) == 0
    before, after = minillm.load(run_folder), minillm.load(out)
    count = sum(array.size for array in before.model.params.values())
    assert f"({before.kind.name}): {count:,} weights taken\n" in capsys.readouterr().out
    assert after.kind.name == "transformer"
    assert after.config == before.config
    assert after.settings.joint
    assert after.source.to_dict() == after.target.to_dict() == before.tokenizer.to_dict()
    for name, array in before.model.params.items():
        np.testing.assert_allclose(after.model.params[name], array, atol=1e-6)
    again = tmp_path / "again"
    command = ["train", "transformer", pair_file, "--init", str(out), "--steps", "2"]
    assert main([*command, "--out", str(again)]) == 0
    assert minillm.load(again).settings.joint


@pytest.fixture(scope="module")
def joint(tmp_path_factory, pair_file):
    """A Transformer with one vocabulary of byte pairs."""
    folder = tmp_path_factory.mktemp("joint") / "run"
    command = ["train", "transformer", pair_file, "--joint", "--unit", "bpe", "--out", str(folder)]
    assert main([*command, *SIZES, "--vocabulary", "270", "--steps", "2"]) == 0
    return str(folder)


@pytest.mark.parametrize("initial", ["run_folder", "joint"])
def test_a_copying_transformer_begins_with_it(initial, request, pair_file, tmp_path, capsys):
    path, out = request.getfixturevalue(initial), tmp_path / "run"
    command = ["train", "transformer", pair_file, "--copying", "--init", path, "--steps", "2"]
    capsys.readouterr()
    assert main([*command, "--learning-rate", "1e-9", "--out", str(out)]) == 0
    before, after = minillm.load(path), minillm.load(out)
    new = "new: gate.W, gate.b, pointer.W_k, pointer.W_q\n"
    assert f"({before.kind.name}): " in (shown := capsys.readouterr().out)
    assert new in shown
    assert after.kind.name == "copying-transformer"
    assert after.source.to_dict() == after.target.to_dict() == before.target.to_dict()
    assert after.settings.unit == "bpe"
    for name, array in before.model.params.items():
        np.testing.assert_allclose(after.model.params[name], array, atol=1e-6)
    assert after.look("The dog sat on the mat.").inside.attention[0].copying is not None


def test_a_copying_transformer_needs_one_vocabulary(pair_file, tmp_path, capsys):
    for name, options, complaint in (
        ("two", ["--unit", "bpe"], r"one vocabulary \(--joint\), found one with two"),
        ("letters", ["--unit", "character", "--joint"], "unit word or bpe, found character"),
    ):
        path = str(tmp_path / name)
        command = ["train", "transformer", pair_file, "--steps", "2", *SIZES, *options]
        assert main([*command, "--vocabulary", "270", "--out", path]) == 0
        capsys.readouterr()
        command = ["train", "transformer", pair_file, "--copying", "--init", path]
        assert main([*command, "--out", str(tmp_path / "run")]) == 2
        assert re.search(f"--init .*: expected a .*{complaint}", capsys.readouterr().err)


def test_one_kind_of_training_at_a_time(pair_file, tmp_path, capsys):
    command = ["train", "transformer", pair_file, "--copying", "--denoise"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert "expected one kind of training, found --denoise and" in capsys.readouterr().err
    with pytest.raises(InputError, match="found denoise and copying"):
        minillm.train("transformer", pairs=[("a", "b")], copying=True, denoise=True)


def test_more_text_begins_with_a_denoiser(run_folder, text_file, joint, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(text_file, out, "--init", run_folder, "--steps", "2") == 0
    assert minillm.load(out).config == minillm.load(run_folder).config
    capsys.readouterr()
    assert train(text_file, tmp_path / "other", "--init", joint) == 2
    assert "--init: expected a run of denoiser, found one of tran" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--unit", "word"], "--unit: with --init"),
        (["--vocabulary", "500"], "--vocabulary: with --init"),
    ],
)
def test_another_vocabulary_does_not_fit(run_folder, pair_file, tmp_path, capsys, options, message):
    command = ["train", "transformer", pair_file, "--init", run_folder, *options]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


# --- wrong input, and Python -----------------------------------------------------------------


def test_a_vocabulary_without_a_mask(text_file, tmp_path, capsys):
    command = ["train", "tokenizer", text_file, "--vocabulary", "280", "--out"]
    assert main([*command, str(tmp_path / "tokenizer")]) == 0
    capsys.readouterr()
    options = ["--tokenizer", str(tmp_path / "tokenizer"), "--steps", "2"]
    assert train(text_file, tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert re.search("--tokenizer .*: expected a vocabulary with the token <mask>, found", error)


def test_a_text_that_is_too_short(tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_text("A sentence of words.\n" + ". . . . . . ." * 9)
    assert train(path, tmp_path / "run", *TINY, "--steps", "2") == 2
    assert (
        "text.txt, validation: expected a longer text, found no passage" in capsys.readouterr().err
    )


@pytest.mark.parametrize("kind", ["denoiser", "bert"])
def test_a_text_from_standard_input_leaves_no_sample(
    text_file, tmp_path, monkeypatch, capsys, kind
):
    data = io.BytesIO(Path(text_file).read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    sizes = ["--width", "16", "--heads", "2", "--layers", "1", "--vocabulary", "300"]
    command = ["train", kind, "-", "--steps", "2", *sizes, "--out", str(tmp_path / "run")]
    assert main([*command, *(["--context", "16"] if kind == "bert" else [])]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("loss curve: ")


def test_from_python(text_file):
    text = Path(text_file).read_text()
    settings = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 32, "vocabulary": 300}
    options = {"text": text, "steps": 2, "quiet": True, **settings}
    run = minillm.train("transformer", denoise=True, **options)
    assert run.kind.name == "denoiser"
    assert isinstance(run.translate("The <mask> sat."), str)
    assert minillm.train("denoiser", **options).kind.name == "denoiser"
    with pytest.raises(InputError, match="text: a run of transformer takes its data as pairs"):
        minillm.train("transformer", text=text, denoise=False)
    with pytest.raises(InputError, match="denoise: there is no such setting"):
        minillm.train("gpt", text=text, denoise=True)
