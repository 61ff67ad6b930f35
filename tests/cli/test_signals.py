"""Ctrl-C and SIGTERM: saved, told in one line, never a traceback."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

import minillm
from minillm.cli import main
from minillm.runs.folder import RunFolder
from minillm.training.language_model import LanguageModelTask

ROOT = Path(__file__).parents[2]
TINY = tiny.LM


def test_ctrl_c_while_a_class_is_made_is_ctrl_c(monkeypatch, capsys):
    """Python 3.11 makes it the cause of another error."""

    def interrupted():
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr("minillm.cli.info.info", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "minillm: stopped\n"


def test_it_saves_and_says_how_to_resume(text_file, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "lm", text_file, "--out", out, "--steps", "6", *TINY]
    tiny.stopped_after(3, command, LanguageModelTask)
    stdout, stderr = capsys.readouterr()
    assert "Traceback" not in stderr
    assert "stopped after 3 steps" in stdout
    assert stdout.endswith(f"to continue: minillm train lm --out {out} --resume\n")
    assert not list(out.glob(".*"))
    assert minillm.load(out).kind.name == "lm"


def test_a_signal_during_the_last_checkpoint_does_not_stop_it(text_file, tmp_path, monkeypatch):
    real, out = RunFolder.save_resume, tmp_path / "run"

    def interrupted(self, arrays, values):
        if values["progress"]["step"] == 3:
            signal.raise_signal(signal.SIGINT)
        real(self, arrays, values)

    monkeypatch.setattr(RunFolder, "save_resume", interrupted)
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["train", "lm", text_file, "--out", str(out), "--steps", "3", *TINY]) == 0
    finally:
        signal.signal(signal.SIGINT, outer)
    assert RunFolder(out).load_resume()[1]["progress"]["step"] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_the_start_it_is_neither_a_traceback_nor_lost(number):
    """While Python starts there is nobody to handle a signal: it is sent when minillm is there."""
    code = """
import sys
sys.argv = ["minillm", "gradcheck", "--seeds", "1000000"]
import minillm.cli.process as process
process.begin()
print("there", flush=True)
from minillm.cli import main
sys.exit(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "there\n"
    time.sleep(random.uniform(0, 0.2))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, "minillm: stopped\n")


@pytest.mark.parametrize(("rank", "told"), [("0", "minillm: stopped\n"), ("1", "")])
def test_at_the_start_of_a_job_its_first_rank_tells_it(rank, told):
    code = """
import os, signal
import minillm.cli.process as process
process.begin()
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PMI_RANK": rank},
    )
    assert (done.returncode, done.stderr) == (130, told)


def test_an_interrupt_that_was_lost_comes_again():
    """Destructors lose it, and so do imports."""
    code = """
import signal, sys, time
from minillm.cli import process

class Destructor:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def an_import():
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        pass

for lose in (Destructor, an_import):
    process.begin_work()
    lose()
    try:
        time.sleep(20)
        sys.exit("lost")
    except KeyboardInterrupt:
        time.sleep(0.15)  # no other one comes while it is on its way
        process.end_work()
    time.sleep(0.15)
print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


@pytest.mark.deep
def test_random_kills_lose_nothing():
    command = ["--count", "4", "--seed", "3", "--kinds", "lm", "ngram", "word2vec"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.stress.signals", *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "4 tries in " in done.stdout
    assert done.stdout.endswith("; 0 failed\n")
