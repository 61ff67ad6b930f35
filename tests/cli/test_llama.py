"""The command line of Llama: what it shares with that of GPT is tested there."""

from dataclasses import replace

import pytest
import tiny

import minillm
from minillm.cli import main
from minillm.runs.folder import RunFolder
from minillm.runs.stored import read_config, save_run


@pytest.fixture(scope="module")
def llama(made):
    """A Llama of four steps."""
    return made("llama", "--steps", "4", *tiny.LLAMA)


def test_a_run_writes_is_measured_and_has_a_picture(llama, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    run = minillm.load(llama)
    assert run.model.config.key_heads == 1
    assert len("".join(run.write("the ", length=40, seed=1))) == 44  # past its context
    assert 0 < run.evaluate()["nats_per_token"] < 4
    assert main(["look", str(llama), "the cat", "--out", str(tmp_path / "look.html")]) == 0
    plot = ["plot", "attention", str(llama), "the cat", "--head", "1"]
    assert main([*plot, "--to", str(tmp_path / "a.png")]) == 0
    assert "layer 0, head 1 (of 2 layers with 2 heads)" in capsys.readouterr().out


def test_sizes_without_an_option_come_from_the_run_of_init(llama, text_file, tmp_path):
    """Otherwise an imported model would go on with other angles and another output."""
    source = minillm.load(llama)
    config = replace(
        source.model.config, rotary_base=77.0, tied=False, rope_scaling=(4.0, 1.0, 4.0, 12.0)
    )
    folder, params = RunFolder(tmp_path / "imported"), source.model.params
    stored = replace(read_config(source.folder), config=config)
    params = {**params, "output.W": params["embedding.E"].T.copy()}
    save_run(folder, stored, params, {"tokenizer": source.tokenizer})
    out = str(tmp_path / "adapted")
    train = ["train", "llama", text_file, "--init", str(folder.path), "--out", out, "--steps", "2"]
    assert main(train) == 0
    assert main(["train", "llama", "--out", out, "--resume", "--steps", "3"]) == 0
    assert minillm.load(out).model.config == config
    assert main([*train, "--overwrite", "--lora-rank", "1"]) == 0
    assert minillm.load(out).model.config == config


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--key-heads", "3"], "key_heads: expected a divisor of heads, found 3 and 2"),
        (["--heads", "8"], "head_width: expected 2 or more, found 1"),
    ],
)
def test_nonsense_options(text_file, tmp_path, fails, options, complaint):
    command = ["train", "llama", text_file, "--out", tmp_path / "out", "--steps", "1"]
    assert complaint in fails(*command, *tiny.LLAMA, *options)
