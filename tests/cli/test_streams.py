"""Standard streams that are closed or full: one line, an exit status, and nothing is lost."""

import os
import shutil
import signal
import subprocess
import sys
import types
import unicodedata

import pytest
from few import few
from forked import Commands
from tiny import LM, TEXT, WORD2VEC

import minillm
from minillm.cli import main
from minillm.errors import escaped
from minillm.training.progress import ProgressDisplay

PAIRS = "one two\ttwo one\nsix two\ttwo six\none six\tsix one\n" * 4
LABELLED = "good\twhat a fine day\nbad\train and wind again\n" * 20
SMALL = ["--steps", "2", "--batch", "4"]
TRAIN = {  # the three ways in which runs are made: by the loop, by counting, and by streaming
    "lm": [*LM, "--steps", "2"],
    "ngram": [],
    "word2vec": WORD2VEC,
}
OUTPUT = ["--help", "info", "gradcheck", "generate", "eval", "similar", "translate", "classify"]


@pytest.fixture(scope="module")
def run():
    """Runs a command: see `forked.Commands`."""
    with Commands() as run:
        yield run


@pytest.fixture(scope="module")
def ready(tmp_path_factory, lm, ngram, word2vec):
    """A folder with data and runs."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "text.txt").write_text(TEXT)
    (folder / "input.txt").write_text("one two\n")
    for name, run in (("lm", lm), ("ngram", ngram), ("word2vec", word2vec)):
        (folder / name).symlink_to(run)
    for kind, data in (("seq2seq", PAIRS), ("classifier", LABELLED)):
        (folder / f"{kind}.txt").write_text(data)
        command = ["train", kind, str(folder / f"{kind}.txt"), "--out", str(folder / kind)]
        assert main([*command, *SMALL]) == 0
    return folder


@pytest.fixture
def command(ready, tmp_path):
    """A command with its arguments, by the name of its verb or of the kind to train."""
    out = tmp_path / "out"

    def command(verb):
        if verb in TRAIN:
            return ["train", verb, ready / "text.txt", "--out", out, *TRAIN[verb]]
        return {
            "--help": ["--help"],
            "info": ["info"],
            "gradcheck": ["gradcheck", "tanh", "--seeds", "1"],
            "generate": ["generate", ready / "lm", "--length", "20"],
            "eval": ["eval", ready / "lm"],
            "similar": ["similar", ready / "word2vec", "cat"],
            "translate": ["translate", ready / "seq2seq"],
            "classify": ["classify", ready / "classifier"],
            "plot": ["plot", "loss", ready / "lm", "--to", out],
            "export": ["export", ready / "ngram", out],
            "import": ["import", tmp_path / "model.arpa", "--out", out],
        }[verb]

    main(["export", str(ready / "ngram"), str(tmp_path / "model.arpa")])
    return command


VERBS = [*OUTPUT, "plot", "export", "import", *TRAIN]


def whole(verb, out):
    """Whether what the command was to make is there."""
    if verb in ("plot", "export"):
        return out.stat().st_size > 100
    return verb in OUTPUT or minillm.load(out) is not None


@pytest.mark.deep
@pytest.mark.parametrize("verb", few(VERBS, 2))
def test_standard_output_that_cannot_be_written(run, ready, command, tmp_path, verb):
    if verb == "plot":
        pytest.importorskip("matplotlib")
    stdin = ready / "input.txt"
    for stdout, why in ((None, "it is closed"), ("/dev/full", "No space left on device")):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        status, _, error = run(tmp_path, *command(verb), stdin=str(stdin), stdout=stdout)
        lines = error.splitlines()
        if verb == "--help" and stdout is None and not lines:
            assert status == 0
            continue
        assert (status, lines[-1]) == (2, f"minillm: standard output: {why}")
        assert len(lines) == 1 or verb in TRAIN
        assert "Traceback" not in error
        assert whole(verb, tmp_path / "out")


@pytest.mark.parametrize("verb", few(VERBS, 2))
@pytest.mark.parametrize("stderr", [None, "/dev/full"])
def test_standard_error_that_cannot_be_written(run, ready, command, tmp_path, verb, stderr):
    if verb == "plot":
        pytest.importorskip("matplotlib")
    stdin = ready / "input.txt"
    status, out, _ = run(tmp_path, *command(verb), stdin=str(stdin), stderr=stderr)
    assert status == 0
    assert out.strip()
    assert whole(verb, tmp_path / "out")
    assert run(tmp_path, "fly", stderr=stderr)[0] == 2


@pytest.mark.parametrize("verb", few(VERBS, 2))
def test_standard_input_that_is_closed(run, command, tmp_path, verb):
    status, out, error = run(tmp_path, *command(verb), stdin=None)
    if verb in ("translate", "classify"):
        assert (status, out) == (2, "")
        assert error == "minillm: standard input: cannot be read: it is closed\n"
        return
    assert status == 0
    assert whole(verb, tmp_path / "out")


def test_a_text_from_standard_input_that_is_closed(run, tmp_path):
    for kind in ("lm", "ngram"):
        status, out, error = run(
            tmp_path, "train", kind, "-", "--out", tmp_path / "out", stdin=None
        )
        assert (status, out) == (2, "")
        assert error == "minillm: standard input: cannot be read: it is closed\n"
        assert not (tmp_path / "out").exists()


def test_all_streams_closed(run, command, tmp_path):
    closed = {"stdin": None, "stdout": None, "stderr": None}
    assert run(tmp_path, *command("lm"), **closed)[0] == 2
    assert run(tmp_path, "info", **closed)[0] == 2
    assert whole("lm", tmp_path / "out")
    # No file of the run has had the number of a stream, and got what was meant for that.
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"config.json", "loss.png"}


def test_an_export_to_standard_output_is_the_file_alone(run, ready, tmp_path):
    run(tmp_path, "export", ready / "ngram", tmp_path / "model.arpa")
    status, out, error = run(tmp_path, "export", ready / "ngram", "/dev/stdout")
    assert (status, error) == (0, "")
    assert out == (tmp_path / "model.arpa").read_text()
    status, _, error = run(tmp_path, "export", ready / "ngram", "/dev/full")
    assert status == 2
    assert error.startswith("minillm: /dev/full: No space left on device")
    assert error.count("\n") == 1


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_a_display_without_standard_error_shows_nothing(monkeypatch, stderr):
    with open("/dev/null", "w") as file:
        monkeypatch.setattr(sys, "stderr", stderr and file)
    with ProgressDisplay(0.0, quiet=False) as display:
        for step in range(3):
            display.shown = 0.0
            display.update(0.1 * step, step, 1.0, step, float(step))
            display.validated(step, 1.0)


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


def test_the_samples_of_a_training_cannot_either(rude, tmp_path, capsys):
    task = types.SimpleNamespace(sample=lambda: CONTROLS)
    with ProgressDisplay(0.0, quiet=False) as display:
        display.sampled(task)
    assert escaped(CONTROLS) in capsys.readouterr().err
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
def test_progress_is_seen_while_it_is_made(ready, tmp_path):
    steps = ["--steps", "100000", "--validations", "10000", "--checkpoint-seconds", "1000"]
    command = ["train", "lm", ready / "text.txt", "--out", tmp_path / "out", *LM, *steps]
    process = subprocess.Popen(
        [sys.executable, "-m", "minillm", *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stderr.readline().startswith("step 10: ")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    written = (tmp_path / "out" / "metrics.jsonl").read_text()
    assert written.count("validation_loss") < 30  # a buffer of lines would have been more
