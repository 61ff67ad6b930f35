"""import and export of a GPT-2, from the command line."""

import json

import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.formats.gpt2 import export_gpt2
from minillm.models.gpt import GPT, GPTConfig
from minillm.text import Characters
from minillm.text.bpe import train

TEXT = "she sells sea shells on the sea shore\n"
TOKENIZERS = {"character": Characters.from_text(TEXT), "bpe": train([TEXT], 262)}


@pytest.fixture(params=TOKENIZERS)
def gpt2(request, tmp_path):
    """A folder as transformers has it."""
    tokenizer = TOKENIZERS[request.param]
    config = GPTConfig(len(tokenizer), context=8, layers=2, heads=3, width=6, dropout=0.1)
    export_gpt2(GPT(config, np.random.default_rng(0)), tokenizer, tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_there_and_back(tmp_path, gpt2, capsys):
    run, again = tmp_path / "run", tmp_path / "again"
    assert main(["import", str(gpt2), "--out", str(run)]) == 0
    assert "weights in 2 layers" in capsys.readouterr().out
    opened = minillm.load(run)
    assert (opened.settings.width, opened.settings.context) == (6, 8)
    text = "".join(opened.write("she", length=12, seed=0))
    assert text.startswith("she")
    assert main(["generate", str(run), "--prompt", "she", "--length", "5", "--seed", "0"]) == 0
    capsys.readouterr()
    file = tmp_path / "text"
    file.write_text(TEXT)
    assert main(["eval", str(run), str(file), "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["nats_per_byte"] < 10
    assert main(["export", str(run), str(again), "--format", "huggingface"]) == 0
    assert capsys.readouterr().out.strip() == str(again)
    assert main(["export", str(run)]) == 0
    for copy in (again, run / "huggingface"):
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            assert (copy / name).read_bytes() == (gpt2 / name).read_bytes()


def fails(capsys, *arguments):
    assert main(list(map(str, arguments))) == 2
    message = capsys.readouterr().err
    assert message.startswith("minillm: ")
    assert message.count("\n") == 1
    return message


def test_bad_input(tmp_path, gpt2, capsys):
    run = tmp_path / "run"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "config.json: there is no such file" in fails(capsys, "import", empty, "--out", run)
    whole = (gpt2 / "model.safetensors").read_bytes()
    (gpt2 / "model.safetensors").write_bytes(whole[:-1])
    assert "damaged" in fails(capsys, "import", gpt2, "--out", run)
    assert not run.exists()
    (gpt2 / "model.safetensors").write_bytes(whole)
    assert main(["import", str(gpt2), "--out", str(run)]) == 0
    assert "already holds a run" in fails(capsys, "import", gpt2, "--out", run)
    assert "it exists already" in fails(capsys, "export", run, gpt2)
    assert "--binary: only word vectors" in fails(capsys, "export", run, "--binary")
    assert "--format: a run of gpt" in fails(capsys, "export", run, "--format", "arpa")
    assert (gpt2 / "model.safetensors").read_bytes() == whole
