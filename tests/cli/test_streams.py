"""Standard streams: one line where the output is full, and nothing is lost."""

import os
import signal
import subprocess
import sys
import unicodedata

import pytest
from tiny import LM, start

import minillm
from minillm.cli import main
from minillm.errors import escaped
from minillm.training import Task
from minillm.training.progress import ProgressDisplay

FULL = "minillm: No space left on device\n"


def test_output_that_cannot_be_written_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "minillm", "info"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (2, FULL)


def test_a_training_whose_output_cannot_be_written_is_saved(
    text_file, tmp_path, monkeypatch, capsys
):
    command = ["train", "lm", text_file, "--out", str(tmp_path / "out"), *LM, "--steps", "2"]
    full = open("/dev/full", "w")  # noqa: SIM115
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert main(command) == 2
    with pytest.raises(OSError, match="No space left"):
        full.close()
    assert capsys.readouterr().err.endswith(f"\n{FULL}")
    assert minillm.load(tmp_path / "out") is not None


def test_the_reader_of_the_output_may_leave(lm):
    process = start("generate", lm, "--length", "100000")
    process.stdin.close()
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 141


def test_standard_input_that_is_closed(tmp_path, monkeypatch, fails):
    monkeypatch.setattr(sys, "stdin", None)
    for kind in ("lm", "ngram"):
        error = fails("train", kind, "-", "--out", tmp_path / "out")
        assert error == "minillm: standard input: cannot be read: it is closed\n"
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_a_display_without_standard_error_shows_nothing(monkeypatch, stderr):
    with open("/dev/null", "w") as file:
        monkeypatch.setattr(sys, "stderr", stderr and file)
    with ProgressDisplay(0.0, quiet=False) as display:
        for step in range(3):
            display.shown = 0.0
            display.update(0.1 * step, step, 1.0, step, float(step))
            display.validated(step, 1.0, Task())


CONTROLS = "\x1b[2J\x07\x9b\x7f"


@pytest.fixture(scope="module")
def rude(tmp_path_factory):
    """A run whose characters are those that command terminals, and a few others."""
    folder = tmp_path_factory.mktemp("rude")
    (folder / "text.txt").write_bytes((CONTROLS + "é\t\n").encode() * 50)
    command = ["train", "lm", str(folder / "text.txt"), "--out", str(folder / "run"), *LM]
    assert main([*command, "--steps", "2"]) == 0
    return folder / "run"


def on_a_terminal(*command):
    """The standard output of a command, as bytes; error output is not on the terminal."""
    pty, tty = pytest.importorskip("pty"), pytest.importorskip("tty")
    reader, terminal = pty.openpty()
    tty.setraw(terminal)
    process = subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE)
    os.close(terminal)
    written = b""
    while True:
        try:
            data = os.read(reader, 4096)
        except OSError:  # Linux says it so that the other end is closed
            data = b""
        if not data:
            break
        written += data
    os.close(reader)
    assert process.communicate()[1] == b""
    assert process.returncode == 0
    return written


def test_what_a_model_writes_cannot_command_a_terminal(rude):
    written = minillm.load(rude).generate(length=200, seed=1, temperature=1) + "\n"
    assert all(c in written for c in CONTROLS + "é\t\n")
    command = [sys.executable, "-m", "minillm", "generate", str(rude), "--length", "200"]
    command += ["--seed", "1", "--temperature", "1"]
    assert on_a_terminal(*command).decode() == escaped(written)


def test_every_control_character_but_two_is_escaped():
    kept = [
        c for c in map(chr, range(0x100)) if unicodedata.category(c) == "Cc" and escaped(c) == c
    ]
    assert kept == ["\t", "\n"]


def test_a_message_is_one_line_without_control_characters(capsys):
    assert main(["eval", "no\x1b[2J\nrun" + "a" * 3000]) == 2
    error = capsys.readouterr().err
    assert error.startswith("minillm: no\\x1b[2J run")
    assert error.rstrip("\n").isprintable()
    assert len(error) < 1100


@pytest.mark.deep
def test_progress_is_seen_while_it_is_made(text_file, tmp_path):
    steps = ["--steps", "100000", "--validations", "10000", "--checkpoint-seconds", "1000"]
    command = ["train", "lm", text_file, "--out", tmp_path / "out", *LM, *steps]
    process = start(*command)
    try:
        assert process.stderr.readline().startswith("step 10: ")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    written = (tmp_path / "out" / "metrics.jsonl").read_text()
    assert written.count("validation_loss") < 30  # a buffer of lines would have been more
