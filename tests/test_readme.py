"""The README: its Python runs, its commands are parsed, its figures are those of the pages."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from book.commands import arguments_of
from other_programs import export_folder

from minillm.cli.arguments import command_line
from minillm.exercises import exercises
from minillm.formats import huggingface
from minillm.models.gpt import GPT, GPTConfig
from minillm.text import BytePairs

README = Path(__file__).resolve().parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"`(minillm [^`]+)`", TEXT)  # within a line; tests/book has the blocks


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may make a run
    exec(compile(example, str(README), "exec"), {})


def test_the_files_that_are_downloaded_are_enough_to_import(tmp_path):
    text = (README.parent / "docs/manual/published-models.md").read_text(encoding="utf-8")
    (names,) = re.findall(r"^hf download gpt2 (.*) --local-dir gpt2$", text, re.MULTILINE)
    tokenizer = BytePairs([])
    config = GPTConfig(len(tokenizer), context=4, layers=1, heads=1, width=4)
    export_folder(GPT(config, np.random.default_rng(0)), tokenizer, tmp_path / "whole")
    (tmp_path / "gpt2").mkdir()
    for name in names.split():
        shutil.copy(tmp_path / "whole" / name, tmp_path / "gpt2")
    model = huggingface.read(tmp_path / "gpt2").model
    assert model.config.width == 4


REST = {"minillm eval --adapt --mix": ["runs/mine"], "minillm train decoder": ["--out", "runs/d"]}


def test_commands_within_lines_are_parsed():
    """A word in capitals, as in `minillm VERB --help`, stands for others."""
    assert EXAMPLES
    for command in COMMANDS:
        (arguments,) = arguments_of(command)
        if len(arguments) == 1:  # the name of a verb alone
            assert f"\n  {arguments[0]} " in command_line().format_help()
        elif arguments[0] != "VERB":
            command_line().parse_args([*arguments, *REST.get(command, [])])


def row(page, begin):
    """The cells after the first one of the only row of a table that begins so."""
    lines = (README.parent / "docs" / page).read_text(encoding="utf-8").splitlines()
    (found,) = (line for line in lines if line.startswith(f"| {begin}"))
    return [cell.strip(" *") for cell in found.split("|")[2:-1]]


def test_the_figures_are_those_of_the_pages():
    text = " ".join(TEXT.split())
    checkers = "outputs/checkers.md"
    assert row(checkers, "minillm |")[0] == "100 %"
    pytorch, jax = (row(checkers, name)[0].replace(" ", "") for name in ("PyTorch, slow", "JAX |"))
    assert f"PyTorch's gradcheck finds {pytorch} and JAX's {jax}." in text
    bugs = json.loads((README.parent / "docs/outputs/checkers.json").read_text())
    assert f"all of {bugs['bugs']} backward passes" in text
    adapted = "the same, then `minillm eval --adapt --mix`"
    trained, mixed = (
        row("manual/results.md", command)[1].partition(" ")[0].strip("*")
        for command in ("`minillm train decoder FILE`", adapted)
    )
    assert f"in five minutes it is {trained}, and {mixed} if the model may learn" in text
    results = README.parent / "docs/manual/results.md"
    page = " ".join(results.read_text("utf-8").split())
    (theirs, ours) = re.search(
        r"nanoGPT's README reports ([\d.]+) after three minutes on an A100, measured on random "
        r"windows of 256 .* in windows of 128, a decoder of 1,536 steps has ([\d.]+\d)",
        page,
    ).groups()
    assert f"| A100 | 3 | 256 | {theirs} |" in text
    assert f"| 5 | 128 | {ours} |" in text
    assert f"with {len(exercises())} exercises" in text
    lines = (README.parent / "docs/manual/speed.md").read_text("utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("| Q4_1 | minillm"))
    ours, theirs = (lines[n].split("|")[2:] for n in (begin, begin + 2))
    assert theirs[0].strip() == "llama.cpp"
    assert all(float(ours[k]) > float(theirs[k]) for k in (3, 4))  # writing, on one thread and two
