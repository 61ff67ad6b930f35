"""Models of other programs in the place of a run: read in place."""

import json
from pathlib import Path

import chatting
import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.cli.train import _kind_for
from minillm.errors import InputError
from minillm.formats.gguf import export_gguf
from minillm.models.llama import Llama, LlamaConfig


def write(path, seed=0, type="Q8_0"):
    """A GGUF file of a tiny model that chats."""
    config = LlamaConfig(
        len(chatting.TOKENIZER), 128, 1, heads=2, key_heads=1, width=32, feed_forward=32
    )
    model = Llama(config, np.random.default_rng(seed))
    export_gguf(model, chatting.TOKENIZER, path, type, chatting.TEMPLATE)
    return path


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "model.gguf")


def written(run):
    return "".join(run.write("the cat", length=8, seed=1))


def test_a_file_is_read_in_place(model, tmp_path, capsys):
    first = minillm.load(model)
    assert written(minillm.load(str(model))) == written(first)
    assert first.path == first.weights_path == model
    assert first.chat_template.source == chatting.TEMPLATE.source
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    write(model, seed=1)
    assert written(minillm.load(model)) != written(first)
    assert capsys.readouterr() == ("", "")


def test_it_is_saved_as_a_run_with_the_same_weights(model, tmp_path):
    first = minillm.load(model)
    first.save(tmp_path / "saved")
    saved = minillm.load(tmp_path / "saved")
    assert written(saved) == written(first)
    assert saved.fingerprint() == first.fingerprint()  # the file is copied
    assert saved.chat_template == first.chat_template


def test_folders_of_hugging_face(model, tmp_path):
    theirs = tmp_path / "theirs"
    first = minillm.load(model)
    first.export(theirs, "huggingface")
    run = minillm.load(theirs)
    assert run.path == theirs
    assert run.chat_template is not None
    prints = run.fingerprint()
    first.model.params["norm.gain"][0] += 1
    first.export(tmp_path / "changed", "huggingface")
    assert minillm.load(tmp_path / "changed").fingerprint() != prints


def test_word_vectors(tmp_path):
    (tmp_path / "v.txt").write_text("2 2\ncat 1 0\ndog 0 1\n")
    assert minillm.load(tmp_path / "v.txt").vectors["dog"].tolist() == [0, 1]


def test_what_a_verb_writes_by_default_is_here(model, tmp_path, capsys, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert main(["look", str(model), "the cat"]) == 0
    assert main(["plot", "attention", str(model), "the cat"]) == 0
    assert {path.name for path in Path().iterdir()} == {"look.html", "attention.png"}


@pytest.mark.deep
def test_verbs(model, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(chatting.TEXT)
    for verb in (
        ["generate", model, "--length", "3"],
        ["tokens", model, "the"],
        ["eval", model, text],
    ):
        assert main([str(word) for word in verb]) == 0
    chats = tmp_path / "chats.jsonl"
    rows = [{"prompt": f"the cat {n}", "completion": "the dog"} for n in range(20)]
    chats.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, merged = tmp_path / "out", tmp_path / "merged"
    options = ["--steps", "2", "--max-length", "64", "--lora-rank", "2", "--out", str(out)]
    assert main(["finetune", str(model), str(chats), *options]) == 0
    assert minillm.load(out).data["init"] == str(model)
    assert main(["merge", str(out), "--out", str(merged)]) == 0
    assert minillm.load(merged).chat_template is not None


def test_finetune_trains_a_chat(model, tmp_path):
    """A table has labelled texts, and so has a folder for each label."""
    texts = tmp_path / "texts.tsv"
    texts.write_text("good\ta fine film\n")
    assert _kind_for([str(model), "--out", "x"]) == "chat"
    assert _kind_for([str(model), str(texts), "--out", "x"]) == "finetuned"
    assert _kind_for([str(model), str(tmp_path), "--out", "x"]) == "finetuned"


def test_what_is_no_model(model, tmp_path):
    other, damaged, adapter = (tmp_path / name for name in ("a.txt", "b.gguf", "adapter"))
    other.write_text("<!doctype html>")
    with pytest.raises(InputError, match=r"a\.txt: expected a run, .* found '<!doctype html>'"):
        minillm.load(other)
    damaged.write_bytes(model.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"b\.gguf: "):
        minillm.load(damaged)
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"adapter: expected a run, found LoRA's updates"):
        minillm.load(adapter)
