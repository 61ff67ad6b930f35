"""Runs with quantised weights: imported, made, copied, used, and refused for training."""

import json

import numpy as np
import pytest
from other_programs import import_gguf

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.formats.gguf import export_gguf
from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised import Quantised
from minillm.quantised.gguf import open_gguf, write_gguf
from minillm.text import ChatTemplate
from minillm.text.byte_pairs import train

TEXT = "she sells sea shells by the sea shore\n" * 20
TEMPLATE = "{% for m in messages %}{{ m['content'] }}<|endoftext|>{% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quantise")


@pytest.fixture(scope="module")
def file(folder):
    """A GGUF file of Q4_1, as of another program."""
    tokenizer = train([TEXT], 270)
    config = LlamaConfig(len(tokenizer), 64, 1, heads=2, key_heads=1, width=32, feed_forward=32)
    path = folder / "theirs.gguf"
    chat = ChatTemplate(TEMPLATE)
    export_gguf(Llama(config, np.random.default_rng(0)), tokenizer, path, "Q4_1", chat)
    return path


@pytest.fixture(scope="module")
def imported(folder, file):
    assert main(["import", str(file), "--out", str(folder / "imported")]) == 0
    return folder / "imported"


def test_import_keeps_the_file_as_it_is(file, imported, capsys):
    assert (imported / "model.gguf").read_bytes() == file.read_bytes()
    assert not (imported / "model.safetensors").exists()
    assert json.loads((imported / "chat.json").read_text())["source"] == TEMPLATE
    run = minillm.load(imported)
    assert isinstance(run.model.params["blocks.0.attention.W_o"], Quantised)
    assert len("".join(run.write("she ", length=5, seed=1))) > 4
    assert run.trace("she sells").attention[0].weights.ndim == 4
    assert "sells" in run.look("she sells").html
    for name, options in (("same.gguf", []), ("same", ["--format", "gguf"])):
        assert main(["export", str(imported), str(imported.parent / name), *options]) == 0
        assert (imported.parent / name).read_bytes() == file.read_bytes()


def test_the_name_of_a_file_says_that_it_is_gguf(imported, tmp_path):
    run = minillm.load(imported)
    run.export(tmp_path / "a.gguf")
    assert (tmp_path / "a.gguf").read_bytes()[:4] == b"GGUF"
    run.export(tmp_path / "b.gguf", "huggingface")
    assert (tmp_path / "b.gguf").is_dir()


def test_sizes_that_no_run_may_have(file, tmp_path, capsys):
    """They are refused before anything is written."""
    metadata, tensors = open_gguf(file)
    arrays = {name: (tensor.read(), "F32") for name, tensor in tensors.items()}
    theirs = tmp_path / "theirs.gguf"
    write_gguf(theirs, {**metadata, "llama.attention.layer_norm_rms_epsilon": 1e26}, arrays)
    assert main(["import", str(theirs), "--out", str(tmp_path / "other")]) == 2
    assert "theirs.gguf: eps: expected a number at least" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_copy_and_a_run_that_is_replaced(imported, tmp_path):
    run = minillm.load(imported)
    run.save(tmp_path / "copy")
    copy = minillm.load(tmp_path / "copy")
    assert copy.folder.fingerprint() == run.folder.fingerprint()
    minillm.train("llama", tmp_path / "copy", text=TEXT, steps=1, overwrite=True, width=8, layers=1)
    assert not (tmp_path / "copy" / "model.gguf").exists()
    assert isinstance(minillm.load(tmp_path / "copy").model.params["embedding.E"], np.ndarray)


@pytest.mark.parametrize("type", ["q8_0", "q5_0", "q4_0", "q4_k", "f16"])
def test_quantise_makes_a_run(imported, tmp_path, type, capsys):
    out = tmp_path / "out"
    assert main(["quantise", str(imported), "--to", type, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{type}: ")
    before, after = minillm.load(imported), minillm.load(out)
    ids = np.arange(20)[None]
    assert np.abs(before.model.forward(ids)[0] - after.model.forward(ids)[0]).max() < 0.3
    assert after.chat_template == before.chat_template
    _, tokenizer, chat = import_gguf(minillm.load(out).export(tmp_path / "a.gguf", "gguf"))
    assert tokenizer.to_dict() == before.tokenizer.to_dict()
    assert chat == before.chat_template


def test_floats_can_be_trained_and_integers_cannot(imported, tmp_path, capsys):
    with pytest.raises(InputError, match="its weights are quantised, and cannot be trained"):
        minillm.train("llama", tmp_path / "a", text=TEXT, steps=1, init=str(imported), context=16)
    assert main(["quantise", str(imported), "--to", "f32", "--out", str(tmp_path / "floats")]) == 0
    run = minillm.train(
        "llama", tmp_path / "b", text=TEXT, steps=1, init=str(tmp_path / "floats"), context=16
    )
    assert run.model.config.width == 32


def test_a_run_over_characters_is_quantised(tmp_path, capsys):
    sizes = {"width": 32, "layers": 1, "heads": 2, "feed_forward": 32, "context": 16}
    run = minillm.train("llama", tmp_path / "a", text=TEXT, steps=1, **sizes)
    assert main(["quantise", str(run.path), "--to", "q8_0", "--out", str(tmp_path / "b")]) == 0
    assert len("".join(minillm.load(tmp_path / "b").write("she", length=4, seed=0))) == 7


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["quantise", "RUN", "--to", "q5_2", "--out", "OUT"],
            "--to: expected one of f32, f16, q4_0",
        ),
        (["quantise", "RUN", "--to", "q8_0", "--out", "RUN"], "it already holds a run"),
        (["quantise", "GPT", "--to", "q8_0", "--out", "OUT"], "expected a run of llama, found one"),
        (["export", "GPT", "OUT", "--format", "gguf"], "a run of gpt is exported as huggingface"),
        (["export", "GPT", "OUT.gguf"], "a run of gpt is exported as huggingface or peft, found"),
    ],
)
def test_wrong_arguments_are_one_line(imported, tmp_path, arguments, complaint, capsys):
    names = {name: str(tmp_path / name.lower()) for name in ("OUT", "OUT.gguf", "GPT")}
    names["RUN"] = str(imported)
    if "GPT" in arguments:
        minillm.train("gpt", tmp_path / "gpt", text=TEXT, steps=1, width=8, layers=1, heads=1)
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(main([names.get(argument, argument) for argument in arguments]))
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err


def test_damaged_runs_are_named(imported, tmp_path):
    minillm.load(imported).save(tmp_path / "run")
    path = tmp_path / "run" / "model.gguf"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=rf"{path}: .*expected [0-9,]+ bytes from"):
        minillm.load(tmp_path / "run")
    path.unlink()
    with pytest.raises(InputError, match=r"model.safetensors: it does not exist yet"):
        minillm.load(tmp_path / "run")
