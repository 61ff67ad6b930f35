"""The command line of the language model, called as a user calls it."""

import io
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny
from tiny import TEXT, metrics

from minillm.cli import main

TINY = tiny.LM
SHORT = ["--steps", "2"]


@pytest.fixture
def run_folder(lm, tmp_path):
    """A copy of a lm run, to change at will."""
    return shutil.copytree(lm, tmp_path / "run")


def start(*command, **options):
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "minillm", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# What works


def test_train_generate_eval(lm, capsys, evaluated):
    assert {path.name for path in lm.iterdir()} == {
        *("config.json", "vocabulary.json", "model.safetensors"),
        *("resume.safetensors", "metrics.jsonl", "loss.png"),
    }
    assert main(["generate", str(lm), "--prompt", "the ", "--length", "20"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("the ")
    assert len(written) == 4 + 20 + 1

    results = evaluated(lm)
    assert results["unit"] == "character"
    assert 0 <= len(TEXT) // 10 - 1 - results["tokens"] < 4  # less than a batch is left over
    best = min(r["validation_loss"] for r in metrics(lm) if "validation_loss" in r)
    assert results["nats_per_token"] == pytest.approx(best, rel=1e-6)
    assert main(["eval", str(lm)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["nats", "per", "token", f"{best:.4f}"] in lines
    assert ["nats", "per", "character", f"{best:.4f}"] in lines


def test_the_end_of_training_tells_what_came_of_it(text_file, tmp_path, capsys):
    out = tmp_path / "deep" / "run"
    assert main(["train", "lm", text_file, "--out", str(out), "--steps", "4", *TINY]) == 0
    output = capsys.readouterr()
    assert "trained after 4 steps, 128 characters, 0:0" in output.out
    assert "nats per character (step 4)" in output.out
    assert f"loss curve: {out / 'loss.png'}\n" in output.out
    sample = output.out.partition("sample:\n\n")[2]
    assert 200 < len(sample) < 300
    assert "step 4: training " in output.err


def test_one_seed_trains_one_model(lm, text_file, tmp_path):
    out = tmp_path / "again"
    assert main(["train", "lm", text_file, "--out", str(out), "--steps", "40", *TINY]) == 0
    for name in ("model.safetensors", "vocabulary.json"):
        assert (out / name).read_bytes() == (lm / name).read_bytes()


def test_a_longer_text_begins_as_a_shorter_one(lm, capsys):
    """Although it is generated with a table of input terms, one row for each character."""
    texts = []
    for length in ("5", "300"):
        assert main(["generate", str(lm), "--temperature", "0", "--length", length]) == 0
        texts.append(capsys.readouterr().out.rstrip("\n"))
    assert texts[1].startswith(texts[0])


@pytest.mark.parametrize(
    "options",
    [
        ["--cell", "rnn", "--optimiser", "sgd", "--learning-rate", "0.1", "--momentum", "0.5"],
        ["--cell", "gru", "--layers", "2", "--optimiser", "adam", "--accumulate", "2"],
        ["--embedding", "0", "--dropout", "0.5"],
        ["--tied", "--dropout", "0.2", "--weight-decay", "0", "--warmup", "0", "--clip", "0.5"],
    ],
)
def test_options(text_file, tmp_path, options):
    small = ["--hidden", "8", "--batch", "2", "--window", "5", "--steps", "3"]
    out = tmp_path / "run"
    assert main(["train", "lm", text_file, text_file, "--out", str(out), *small, *options]) == 0
    assert main(["eval", str(out)]) == 0


def test_words(text_file, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "lm", text_file, "--out", str(out), "--steps", "60", "--unit", "word"]
    assert main([*command, *TINY, "--vocabulary", "9", "--learning-rate", "0.05"]) == 0
    assert "nats per word" in capsys.readouterr().out
    assert len(json.loads((out / "vocabulary.json").read_text())["tokens"]) == 9
    assert main(["generate", str(out), "--prompt", "The cat".lower(), "--length", "40"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("the cat ")
    assert "<unk>" not in written
    assert main(["eval", str(out), "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["unknown_share"] < 1


@pytest.mark.deep
def test_the_built_in_corpus(tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--hidden", "8", "--embedding", "8", "--steps", "2", "--validations", "1"]
    assert main(["train", "lm", "--out", str(out), *options]) == 0
    assert main(["eval", str(out)]) == 0
    assert "held-out end of the built-in corpus" in capsys.readouterr().out


@pytest.fixture
def typed(monkeypatch):
    """Sets the text that comes from standard input."""

    def given(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return given


def test_standard_input_and_other_texts(tmp_path, typed, evaluated, fails):
    out = str(tmp_path / "run")
    typed(TEXT)
    assert main(["train", "lm", "-", "--out", out, "--steps", "4", *TINY]) == 0
    typed(TEXT)
    assert main(["train", "lm", "--out", out, "--resume", "--steps", "8"]) == 0
    typed("the dog")
    assert evaluated(out, "-")["tokens"] == 7
    assert "give the text to measure it on as FILE" in fails("eval", out)


def test_files_may_stand_anywhere(text_file, tmp_path, fails):
    out = ["--out", str(tmp_path / "run"), "--steps", "1"]
    assert main(["train", "lm", text_file, *out, text_file, *TINY]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["files"] == [text_file] * 2
    assert "there is no option '--bogus' (" in fails("eval", tmp_path / "run", "--bogus", "x")


def test_the_reader_of_the_output_may_leave(lm):
    process = start("generate", lm, "--length", "100000")
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 141


# Resuming


@pytest.mark.deep
def test_resumed_equals_uninterrupted_after_a_kill_at_any_moment(text_file, tmp_path):
    length = ["--steps", "300", "--validations", "30", "--dropout", "0.1", "--seed", "5"]
    whole = tmp_path / "whole"
    assert main(["train", "lm", text_file, "--out", str(whole), *TINY, *length]) == 0

    out = tmp_path / "killed"
    train = ["train", "lm", text_file, "--out", out, *TINY, *length, "--checkpoint-seconds", "0"]
    moment = random.Random(0)
    kills = 0
    for _ in range(3):
        process = start(*train)
        config = out / "config.json"
        while not config.exists() and process.poll() is None:
            time.sleep(0.005)
        before = config.stat().st_mtime_ns
        while kills and config.stat().st_mtime_ns == before and process.poll() is None:
            time.sleep(0.005)  # until it has read the last checkpoint
        time.sleep(moment.uniform(0, 0.05))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        train = ["train", "lm", "--out", out, "--resume"]
    assert kills == 3
    train = [*train, "--checkpoint-seconds", "30"]
    assert main([str(part) for part in train]) == 0
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert metrics(out) == metrics(whole)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}


# What does not


def test_an_existing_run_is_not_lost(run_folder, text_file, fails, capsys):
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    line = fails("train", "lm", text_file, "--out", run_folder, *TINY)
    assert "give resume to continue it, or overwrite to replace it" in line
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before
    overwrite = ["--overwrite", "--steps", "2", "--hidden", "9"]
    assert main(["train", "lm", text_file, "--out", str(run_folder), *TINY, *overwrite]) == 0
    assert "trained after 2 steps" in capsys.readouterr().out
    assert metrics(run_folder)[0]["step"] == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file"),
        (b"", "empty file"),
        (b"\x7fELF\0\0", "binary"),
        (b"na\xefve", "UTF-8"),
        (b"a text", "expected more than one window of 8 tokens, found 6"),
        (b"only one!", "the validation text: expected 2 tokens or more, found 1"),
    ],
)
def test_bad_texts_write_nothing(tmp_path, fails, content, complaint):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    out = ["--out", tmp_path / "out", "--steps", "1"]
    assert complaint in fails("train", "lm", path, *out, *TINY)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--learning-rate", "-1"], "--learning-rate: expected a number above 0, found '-1'"),
        (["--dropout", "1"], "--dropout: expected a number at least 0 and below 1, found '1'"),
        (["--hidden", "0"], "--hidden: expected a whole number from 1 to 65536, found 0"),
        (["--minutes", "1", "--steps", "1"], "found minutes and steps"),
        (["--resume", "--overwrite"], "expected resume or overwrite, found both"),
        (["--tied", "--embedding", "5"], "embedding"),
    ],
)
def test_nonsense_options(text_file, tmp_path, fails, options, complaint):
    if "--steps" not in options and "--minutes" not in options:
        options = [*options, "--steps", "1"]
    assert complaint in fails("train", "lm", text_file, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--prompt", "the Cat"], "prompt, line 1, column 5: the character 'C' (U+0043)"),
        (["--temperature", "-0.1"], "--temperature"),
        (["--top-p", "3"], "--top-p: expected a number above 0 and at most 1, found '3'"),
        (["--top-k", "0"], "--top-k"),
        (["--length", "0"], "--length"),
    ],
)
def test_nonsense_to_generate(lm, fails, options, complaint):
    assert complaint in fails("generate", lm, *options)


def test_commands_that_lack_something(fails, tmp_path, text_file):
    assert "--out" in fails("train", "lm")
    assert "no run in it" in fails("generate", tmp_path)
    assert "no run in it" in fails("eval", tmp_path / "nowhere")
    assert "expected a run, which is a folder" in fails("eval", text_file)
    assert "expected a folder" in fails("train", "lm", text_file, "--out", text_file)
    assert "no run in it" in fails("train", "lm", "--out", tmp_path, "--resume")
    assert "Not a directory" in fails("train", "lm", text_file, "--out", f"{text_file}/run")


def test_an_unknown_word_in_a_prompt(text_file, tmp_path, fails):
    out = tmp_path / "run"
    command = ["train", "lm", text_file, "--out", str(out), "--steps", "1", "--unit", "word"]
    assert main([*command, *TINY]) == 0
    assert "--prompt: the word 'horse' " in fails("generate", out, "--prompt", "the horse sat")


def test_a_text_with_characters_that_the_model_lacks(lm, tmp_path, fails):
    (tmp_path / "other.txt").write_text("the cat\nsat on\u2026\n")
    line = fails("eval", lm, tmp_path / "other.txt")
    assert "other.txt, line 2, column 7" in line
    assert "U+2026" in line


def test_a_training_text_that_has_changed(tmp_path, fails):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    out = tmp_path / "run"
    assert main(["train", "lm", str(path), "--out", str(out), "--steps", "2", *TINY]) == 0
    path.write_text(TEXT.replace("mat", "rug"))
    assert "text has changed" in fails("eval", out)
    assert "text has changed" in fails("train", "lm", "--out", out, "--resume", "--steps", "4")
    moved = tmp_path / "moved.txt"
    moved.write_text(TEXT)
    resume = ["train", "lm", str(moved), "--out", str(out), "--resume", "--steps", "4"]
    assert main(resume) == 0
    assert main(["eval", str(out)]) == 0


def test_a_resumed_run_stays_the_same_run(run_folder, fails):
    resume = ["train", "lm", "--out", run_folder, "--resume", "--steps", "50"]
    line = fails(*resume, "--hidden", "13")
    assert "--hidden: the run in" in line
    assert "has 12, found 13" in line
