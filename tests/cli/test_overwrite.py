"""An existing run is not lost, whatever happens to the run that replaces it."""

import errno
import os
import shutil

import pytest
from tiny import LM, WILD, contents

from minillm.cli import main


@pytest.fixture
def out(lm, tmp_path):
    """A copy of a run, with a file of the user's own."""
    out = shutil.copytree(lm, tmp_path / "run")
    (out / "notes.txt").write_text("mine")
    return out


def test_a_divergence_leaves_the_old_run(out, text_file, capsys):
    before = contents(out)
    command = ["train", "lm", text_file, "--out", str(out), "--overwrite", "--steps", "50"]
    assert main([*command, *LM, *WILD]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("minillm: the training diverged at step ")
    assert "learning rate 9.9" in last
    assert "gradient norm" in last
    assert last.endswith(f"; {out} keeps the last good state")
    assert contents(out) == before
    assert main([*command, "--checkpoint-seconds", "0", *LM, *WILD]) == 1
    assert capsys.readouterr().err.endswith(f"; {out} keeps the last good state\n")
    assert (out / "notes.txt").exists()
    assert main(["generate", str(out), "--length", "3"]) == 0


@pytest.mark.parametrize("kind", ["lm", "ngram"])
def test_a_full_disk_leaves_the_old_run(out, text_file, kind, monkeypatch, capsys):
    before = contents(out)
    options = [*LM, "--steps", "3"] * (kind == "lm")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert main(["train", kind, text_file, "--out", str(out), "--overwrite", *options]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"minillm: {out}{os.sep}")
    assert last.endswith(": No space left on device; what was saved before is kept")
    assert contents(out) == before
    assert not list(out.glob(".*"))


def test_a_new_run_takes_the_place_of_the_old_one(out, text_file, prints, fails):
    before = contents(out)
    lm = ["train", "lm", text_file, "--out", out, "--steps", "2", *LM]
    assert "give resume to continue it, or overwrite to replace it" in fails(*lm)
    assert contents(out) == before
    prints("train", "ngram", text_file, "--out", out, "--overwrite")
    new = {"config.json", "vocabulary.json", "model.safetensors"}
    assert contents(out).keys() == new | {"notes.txt"}
    assert "trained after 2 steps" in prints(*lm, "--overwrite")


def test_an_import_that_fails_leaves_the_old_run(out, tmp_path):
    before = contents(out)
    vectors = tmp_path / "vectors.txt"
    command = ["import", str(vectors), "--out", str(out), "--overwrite"]
    for text in ("2 1\na 1\n", "nonsense"):
        vectors.write_text(text)
        assert main(command) == 2
        assert contents(out) == before
    vectors.write_text("2 1\na 1\nb 2\n")
    assert main(command) == 0
    assert contents(out).keys() == {
        *("notes.txt", "config.json", "vocabulary.json", "model.safetensors")
    }


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["train", "lm", "--out", ""], "expected the name of a folder, found an empty name"),
        (["generate", ""], "expected the name of a folder, found an empty name"),
        (["export", "run", ""], "expected the name of a file to write, found an empty name"),
        (["export", "run", "."], ".: expected a file, found a folder"),
        (["plot", "loss", "run", "--to", ""], "expected the name of a file to write, found an"),
    ],
)
def test_names_that_name_nothing(tmp_path, monkeypatch, capsys, lm, ngram, command, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vectors.txt").write_text("2 1\na 1\nb 2\n")
    shutil.copytree(ngram if command[0] == "export" else lm, tmp_path / "run")
    before = {path.name for path in tmp_path.rglob("*")}
    assert main(command) == 2
    assert capsys.readouterr().err.startswith(f"minillm: {complaint}")
    assert {path.name for path in tmp_path.rglob("*")} == before


def test_a_comparison_of_runs_does_not_replace_a_picture(out, lm, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    before = contents(out)
    assert main(["plot", "loss", str(out), str(lm)]) == 2
    error = "minillm: --to: expected a file for the picture of several runs, found none\n"
    assert capsys.readouterr().err == error
    assert contents(out) == before
    compared = str(tmp_path / "both.png")
    assert main(["plot", "loss", str(out), str(lm), "--to", compared]) == 0
    assert contents(out) == before
    assert main(["plot", "loss", str(out)]) == 0
    assert contents(out).keys() == before.keys() | {"loss.png"}
