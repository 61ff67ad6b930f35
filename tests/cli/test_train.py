"""``minillm train``: what it prints, where its data come from, and what it refuses."""

import json
import re
import shutil
import sys

import pytest
from kind_rows import ROWS
from tiny import GPT, LM, TEXT, contents

from minillm.cli import main
from minillm.runs import train

# --- what it prints -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "printed", "told"),
    [
        (
            "lm",
            r"trained after 6 steps, 192 characters, 0:0(?s:.*) nats per character \(step 6\)",
            "step 6: .*training",
        ),
        ("bert", r" masked tokens, 0:0(?s:.*)nats per masked token", "masked_accuracy 0"),
        ("qa", r"^22 training questions\n(?s:.*)sample:\n\n.*\?\n    ", "step 6: "),
        ("seq2seq", r"14 training pairs\n1 validation pairs", "step 6: "),
        ("preferences", "sample:", r"preferred 0\."),
        ("classifier", r"% of 4 validation texts", r"epoch 0.7: training .*accuracy [01]"),
    ],
)
def test_the_end_of_training_tells_what_came_of_it(name, printed, told, runs, tmp_path, prints):
    row, out = ROWS[name], tmp_path / "deep" / "run"
    data = tmp_path / ("data.jsonl" if row.kind == "preferences" else "data")
    data.write_text(row.data)
    verb, options = ["train", row.kind], []
    for option, value in row.settings.items():
        if option == "init":
            verb = ["finetune", runs(value)]
        else:
            options += [f"--{option.replace('_', '-')}", value]
    output = prints(*verb, data, "--out", out, *options)
    assert re.search(printed, output)
    assert f"loss curve: {out / 'loss.png'}\n" in output
    assert re.search(told, prints.noted)
    if name == "lm":
        assert 200 < len(output.partition("sample:\n\n")[2]) < 600
    if name == "seq2seq":
        assert 20 < len(output.partition("held-out examples")[2]) < 600
    assert {path.name for path in out.iterdir()} >= {
        *("config.json", "model.safetensors", "resume.safetensors", "metrics.jsonl", "loss.png")
    }


@pytest.mark.parametrize(
    ("kind", "enough"),
    [
        ("lm", [*LM, "--steps", "80", "--learning-rate", "0.02"]),
        ("seq2seq", ["--hidden", "16", "--unit", "character", "--steps", "80"]),
    ],
)
def test_a_model_that_has_hardly_learnt_is_said_to_be_so(kind, enough, tmp_path, prints):
    barely = "the model has barely learned: always predicting by frequency gives a loss of "
    pairs = "".join(f"{'ab' * (1 + k % 3)}\t{'xy' * (1 + k % 3)}\n" for k in range(60))
    (tmp_path / "data").write_text(TEXT if kind == "lm" else pairs)
    command = ["train", kind, tmp_path / "data", "--out"]
    few = ["--steps", "1", "--learning-rate", "1e-6", "--hidden", "4"]
    assert prints(*command, tmp_path / "a", *few).count(barely) == 1
    assert barely not in prints(*command, tmp_path / "b", "--learning-rate", "0.02", *enough)


def test_long_examples_are_cut(tmp_path, prints):
    (tmp_path / "pairs").write_text(f"{'word ' * 60}\t{'mot ' * 50}\n" * 20)
    command = ["train", "seq2seq", tmp_path / "pairs", "--out", tmp_path / "run"]
    printed = prints(*command, "--hidden", "4", "--steps", "1")
    assert max(map(len, printed.splitlines())) < 200
    assert "mot [...]" in printed


def test_a_picture_that_cannot_be_drawn_does_not_fail_a_training(
    tmp_path, text_file, monkeypatch, prints
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    printed = prints("train", "lm", text_file, "--out", tmp_path / "run", "--steps", "1", *LM)
    assert "loss curve: not drawn: a picture needs the packages of: pip install" in printed


# --- its data -------------------------------------------------------------------------------------


def test_standard_input_and_resuming_from_it(tmp_path, typed, prints, fails):
    out = tmp_path / "run"
    typed(TEXT)
    prints("train", "lm", "-", "--out", out, "--steps", "4", *LM)
    typed(TEXT)
    prints("train", "lm", "--out", out, "--resume", "--steps", "8")
    assert "give the text to measure it on as FILE" in fails("eval", out)


def test_files_may_stand_anywhere(text_file, tmp_path, prints):
    out = ["--out", tmp_path / "run", "--steps", "1"]
    prints("train", "lm", text_file, *out, text_file, *LM)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["files"] == [text_file] * 2


@pytest.mark.deep
def test_the_built_in_corpus(tmp_path, prints):
    options = ["--hidden", "8", "--embedding", "8", "--steps", "2", "--validations", "1"]
    prints("train", "lm", "--out", tmp_path / "run", *options)
    assert "held-out end of the built-in corpus" in prints("eval", tmp_path / "run")


def test_what_is_too_long_or_rare_is_told_in_training_and_in_eval(tmp_path, prints, evaluated):
    pairs, out = tmp_path / "pairs.tsv", tmp_path / "run"
    rare = "".join(f"say a{k}b\ttold b{k}a me\n" for k in range(100, 130))
    pairs.write_text(rare + "a b c d\ta b c\n")
    command = ["train", "seq2seq", pairs, "--steps", "2", "--hidden", "4", "--out"]
    printed = prints(*command, out, "--max-source", "3", "--max-target", "2")
    assert printed.startswith("28 training pairs, 28 targets are cut to 2 tokens\n")
    cut = re.search(r"3 validation pairs, (.*cut to 2 tokens)\n", printed)[1]
    unknown = "unknown words in the validation pairs: 71.4% in the sources, 66.7% in the targets"
    advice = "the model cannot write them; --unit character or bpe has none\n"
    assert f"{unknown}: {advice}" in printed
    results = evaluated(out, "--beam", "1")
    assert results["sources"] == 3
    assert results["unknown_target_words"] == pytest.approx(2 / 3)
    assert prints.noted == f"minillm: {pairs}, validation: 3 pairs, {cut}\n"
    evaluated(out, pairs, "--beam", "1")
    assert "31 pairs, 1 sources are cut to 3 tokens, 31 targets" in prints.noted
    assert "unknown" not in prints(*command, tmp_path / "characters", "--unit", "character")


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--dropout", "1"], "--dropout: expected a number at least 0 and below 1, found '1'"),
        (["--minutes", "1", "--steps", "1"], "found minutes and steps"),
        (["--resume", "--overwrite"], "expected resume or overwrite, found both"),
        (["--tokenizer", "nowhere"], "nowhere: there is no such file"),
        (["nowhere.txt"], "nowhere.txt: there is no such file"),
    ],
)
def test_wrong_options_write_nothing(text_file, tmp_path, fails, options, complaint):
    assert complaint in fails("train", "lm", text_file, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["lm"], "--out"),
        (["lm", "TEXT", "--out", "TEXT"], "expected a folder"),
        (["lm", "TEXT", "--out", "TEXT/run"], "Not a directory"),
        (["lm", "--out", "FOLDER", "--resume"], "no run in it"),
        (["seq2seq", "--out", "FOLDER/x"], "DATA: expected a file of pairs, or cmudict"),
        (["seq2seq", "numbers-en-xx", "--out", "FOLDER/x"], "found 'xx'"),
        (["qa", "-", "--out", "FOLDER/x"], "standard input: expected a file"),
        (["qa", "--out", "FOLDER/x"], "FILE: expected a JSON file in SQuAD's format, 1.1 or 2.0"),
        (
            ["classifier", "--out", "FOLDER/x"],
            "DATA: expected lines label<TAB>text, or a folder for",
        ),
        (["finetuned", "--out", "FOLDER/x"], "RUN: expected the run to begin with: of lm, gpt"),
    ],
)
def test_commands_that_lack_something(command, complaint, text_file, tmp_path, fails):
    words = [word.replace("TEXT", text_file).replace("FOLDER", str(tmp_path)) for word in command]
    verb = ["finetune", *words[1:]] if words[0] == "finetuned" else ["train", *words]
    assert complaint in fails(*verb)


def test_a_resumed_run_stays_the_same_run(lm, tmp_path, fails):
    out = shutil.copytree(lm, tmp_path / "run")
    line = fails("train", "lm", "--out", out, "--resume", "--steps", "50", "--hidden", "13")
    assert "--hidden: the run in" in line
    assert "has 8, found 13" in line


def test_a_step_of_minutes_is_announced_and_one_above_the_memory_refused(
    text_file, tmp_path, monkeypatch, capsys
):
    """A newcomer's ``--context 100000`` was a step of hours without a line."""
    out = tmp_path / "run"
    command = ["train", "gpt", text_file, "--out", str(out), "--steps", "1", *GPT]
    monkeypatch.setattr(train, "SLOWEST", 0)
    assert main(command) == 0
    assert "a step takes" not in capsys.readouterr().out  # it takes milliseconds
    monkeypatch.setattr(train, "SECONDS_TOLD", 1e-9)
    assert main([*command, "--overwrite"]) == 0
    assert re.search(r"^a step takes 0:00 or more, and keeps 0.0 GB", capsys.readouterr().out)
    kept = 4 * (4 * 12) * (8 * 8 * 2)  # floats, tokens, half of what docstrings count
    monkeypatch.setattr(train, "machine_memory", lambda: kept)
    assert main([*command, "--overwrite"]) == 0
    before = contents(out)
    monkeypatch.setattr(train, "machine_memory", lambda: kept - 1)
    assert main([*command, "--overwrite"]) == 2
    assert re.search(r"expected a step that fits into .*smaller batch", capsys.readouterr().err)
    assert contents(out) == before
