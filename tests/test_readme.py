"""The Python examples of the README are executed as they are written."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from other_programs import export_gpt2, import_gpt2

from minillm.models.gpt import GPT, GPTConfig
from minillm.text import BytePairs

README = Path(__file__).resolve().parent.parent / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may make a run
    exec(compile(example, str(README), "exec"), {})


def test_the_files_that_are_downloaded_are_enough_to_import(tmp_path):
    text = (README.parent / "docs/appendices/command-line.md").read_text(encoding="utf-8")
    (names,) = re.findall(r"^hf download gpt2 (.*) --local-dir gpt2$", text, re.MULTILINE)
    tokenizer = BytePairs([])
    config = GPTConfig(len(tokenizer), context=4, layers=1, heads=1, width=4)
    export_gpt2(GPT(config, np.random.default_rng(0)), tokenizer, tmp_path / "whole")
    (tmp_path / "gpt2").mkdir()
    for name in names.split():
        shutil.copy(tmp_path / "whole" / name, tmp_path / "gpt2")
    model, _ = import_gpt2(tmp_path / "gpt2")
    assert model.config.width == 4


def test_there_are_examples():
    assert EXAMPLES
