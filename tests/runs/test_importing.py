"""Models of other programs in the place of a run: imported once, into a cache."""

import json
import os
import subprocess
import sys

import chatting
import numpy as np
import pytest

import minillm
from minillm.cli import finetune, main
from minillm.errors import InputError
from minillm.formats.gguf import export_gguf
from minillm.models.llama import Llama, LlamaConfig
from minillm.runs.importing import MARK, cache_folder, run_folder
from minillm.runs.kinds.causal import LlamaKind


def write(path, seed=0, type="Q8_0"):
    """A GGUF file of a tiny model that chats."""
    config = LlamaConfig(
        len(chatting.TOKENIZER), 128, 1, heads=2, key_heads=1, width=32, feed_forward=32
    )
    model = Llama(config, np.random.default_rng(seed))
    export_gguf(model, chatting.TOKENIZER, path, type, chatting.TEMPLATE)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "model.gguf")


def written(run):
    return "".join(run.write("the cat", length=8, seed=1))


def test_a_file_is_imported_once(model, cache, capsys):
    first = minillm.load(model)
    [folder] = cache.iterdir()
    assert folder.name.startswith("model.gguf-")
    line = f"minillm: imported {model} into {folder}, for later uses\n"
    assert capsys.readouterr().err == line
    before = (folder / "config.json").stat().st_ino
    assert written(minillm.load(str(model))) == written(first)
    assert capsys.readouterr().err == ""
    assert (folder / "config.json").stat().st_ino == before


@pytest.mark.parametrize("changed", ["size", "time"])
def test_a_source_that_changed_is_imported_again(model, cache, changed, capsys):
    before = minillm.load(model)
    times = model.stat()
    write(model, seed=1, type="F32" if changed == "size" else "Q8_0")
    more = 0 if changed == "size" else 10**9
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns + more))
    capsys.readouterr()
    after = minillm.load(model)
    assert capsys.readouterr().err.startswith("minillm: imported")
    assert written(after) != written(before)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("early", [True, False])
def test_an_import_that_was_stopped_is_made_again(model, cache, early, monkeypatch):
    whole = LlamaKind.import_model

    def stopped(self, contents, file, folder):
        if early:
            folder.begin()
            folder.save_json("vocabulary.json", {})
        else:
            whole(self, contents, file, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(LlamaKind, "import_model", stopped)
    with pytest.raises(KeyboardInterrupt):
        minillm.load(model)
    monkeypatch.undo()
    monkeypatch.setenv("MINILLM_CACHE", str(cache))
    assert not list(cache.glob(f"*/{MARK}"))
    assert len(written(minillm.load(model))) > 8
    assert list(cache.glob(f"*/{MARK}"))


@pytest.mark.parametrize("lost", [MARK, "model.gguf"])
def test_an_import_that_is_damaged_is_made_again(model, cache, lost):
    minillm.load(model)
    [file] = cache.glob(f"*/{lost}")
    file.write_text("{") if lost == MARK else file.unlink()
    assert len(written(minillm.load(model))) > 8


@pytest.mark.deep
def test_two_processes_at_once_make_one_import(model, cache):
    command = [sys.executable, "-c", f"import minillm; minillm.load({str(model)!r})"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0], errors
    assert sum(b"imported" in error for error in errors) == 1
    assert [path.name for path in next(cache.iterdir()).glob(".minillm*")] == []


def test_folders_of_hugging_face(model, tmp_path, cache, capsys):
    theirs = tmp_path / "theirs"
    minillm.load(model).export(theirs, "huggingface")
    capsys.readouterr()
    run = minillm.load(theirs)
    assert run.path.parent == cache
    assert run.chat_template() is not None
    os.utime(theirs / "tokenizer.json", ns=(1, 1))
    minillm.load(theirs)
    assert capsys.readouterr().err.count("imported") == 2


def test_word_vectors(tmp_path, cache):
    (tmp_path / "v.txt").write_text("2 2\ncat 1 0\ndog 0 1\n")
    assert minillm.load(tmp_path / "v.txt").vectors["dog"].tolist() == [0, 1]


def test_what_a_verb_writes_beside_a_run_is_in_the_cache(model, cache, tmp_path, capsys):
    assert main(["look", str(model), "the cat"]) == 0
    assert main(["plot", "attention", str(model), "the cat"]) == 0
    vectors = tmp_path / "v.txt"
    vectors.write_text("3 2\ncat 1 0\ndog 0 1\nlog 1 1\n")
    assert main(["plot", "words", str(vectors)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(str(cache)) for line in lines) == 3


@pytest.mark.deep
def test_verbs(model, cache, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(chatting.TEXT)
    for verb in (
        ["generate", model, "--length", "3"],
        ["tokens", model, "the"],
        ["eval", model, text],
    ):
        assert main([str(word) for word in verb]) == 0
    assert capsys.readouterr().err.count("imported") == 1
    chats = tmp_path / "chats.jsonl"
    rows = [{"prompt": f"the cat {n}", "completion": "the dog"} for n in range(20)]
    chats.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, merged = tmp_path / "out", tmp_path / "merged"
    options = ["--steps", "2", "--max-length", "64", "--lora-rank", "2", "--out", str(out)]
    assert main(["finetune", str(model), str(chats), *options]) == 0
    assert minillm.load(out).data["init"] == str(model)
    assert main(["merge", str(out), "--out", str(merged)]) == 0
    assert minillm.load(merged).chat_template() is not None


def test_finetune_trains_a_chat(model, tmp_path):
    texts = tmp_path / "texts.tsv"
    texts.write_text("good\ta fine film\n")
    assert finetune._kind_for([str(model), "--out", "x"]) == "chat"
    assert finetune._kind_for([str(model), str(texts), "--out", "x"]) == "finetuned"
    assert finetune._kind_for([str(model), str(tmp_path), "--out", "x"]) == "finetuned"


def test_what_is_no_model(model, tmp_path, cache):
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
    assert not cache.exists()


def test_the_cache_is_where_the_system_has_it(monkeypatch, tmp_path):
    for name in ("MINILLM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if os.name != "nt":
        assert cache_folder() == tmp_path / ".cache" / "minillm"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "minillm"
    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path / "ours"))
    assert cache_folder() == tmp_path / "ours"
    assert run_folder(tmp_path / "none").path == tmp_path / "none"
