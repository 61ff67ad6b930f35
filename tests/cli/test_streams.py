"""Standard streams: one line where the output is full, and nothing is lost."""

import os
import signal
import subprocess
import sys
import unicodedata

import pytest
from forked import Commands
from tiny import LM, start

import minillm
from minillm.cli import main
from minillm.errors import escaped
from minillm.training import Task
from minillm.training.progress import ProgressDisplay


@pytest.fixture(scope="module")
def run():
    """Runs a command: see `forked.Commands`."""
    with Commands() as run:
        yield run


@pytest.mark.parametrize(
    "command",
    [["--help"], ["info"], ["generate", "LM", "--length", "20"]],
)
def test_output_that_cannot_be_written_is_one_line(run, lm, tmp_path, command):
    words = [lm if word == "LM" else word for word in command]
    status, _, error = run(tmp_path, *words, stdout="/dev/full")
    assert status == 2
    assert error.startswith("minillm: No space left on device")
    assert error.count("\n") == 1


def test_a_training_whose_output_cannot_be_written_is_saved(run, text_file, tmp_path):
    command = ["train", "lm", text_file, "--out", tmp_path / "out", *LM, "--steps", "2"]
    status, _, error = run(tmp_path, *command, stdout="/dev/full")
    assert (status, error.splitlines()[-1]) == (2, "minillm: No space left on device")
    assert minillm.load(tmp_path / "out") is not None


def test_the_reader_of_the_output_may_leave(lm):
    process = start("generate", lm, "--length", "100000")
    process.stdin.close()
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 141


def test_standard_input_that_is_closed(run, tmp_path):
    for kind in ("lm", "ngram"):
        status, out, error = run(
            tmp_path, "train", kind, "-", "--out", tmp_path / "out", stdin=None
        )
        assert (status, out) == (2, "")
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
    command = [sys.executable, "-m", "minillm", "generate", str(rude), "--length", "200"]
    command += ["--seed", "1", "--temperature", "1"]
    piped = subprocess.run(command, check=True, capture_output=True).stdout
    assert all(c in piped.decode() for c in CONTROLS + "é\t\n")
    assert on_a_terminal(*command).decode() == escaped(piped.decode())


def test_every_control_character_but_two_is_escaped():
    every = "".join(map(chr, range(0x110000)))
    kept = [c for c in every if unicodedata.category(c) == "Cc" and escaped(c) == c]
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
