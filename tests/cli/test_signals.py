"""Ctrl-C and SIGTERM: saved, told in one line, never a traceback."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny
from waiting import deadline

import minillm
from minillm.cli import main
from minillm.runs.folder import LOCK, RunFolder, held
from minillm.training.language_model import LanguageModelTask

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


def test_a_signal_while_python_ends_does_not_change_the_status():
    code = """
import os, signal
from minillm.cli import process

process.begin()

class Last:
    def __del__(self, kill=os.kill, own=os.getpid(), number=signal.SIGTERM):
        kill(own, number)

last = Last()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


KILLED = {
    "lm": [*tiny.LM, "--steps", "40", "--validations", "5", "--checkpoint-seconds", "0"],
    "word2vec": [*tiny.WORD2VEC, "--epochs", "6", "--checkpoint-seconds", "0"],
    "ngram": ["--smoothing", "add-k", "--k", "0.2"],
}


def progress(folder):
    """What a training has done, without the times."""
    values = RunFolder(folder).load_resume()[1]["progress"]
    return {name: value for name, value in values.items() if "seconds" not in name}


@pytest.mark.deep
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", KILLED)
def test_killed_at_a_random_moment_it_loses_nothing(kind, number, runs, text_file, tmp_path):
    """The old run or the new one is whole; what goes on equals a run that was never stopped.

    Only a run that was killed after its model was saved may lack the end of its report, the loss of
    the n-grams.
    """
    old, new, out = (
        shutil.copytree(runs(kind), tmp_path / "old"),
        tmp_path / "new",
        tmp_path / "run",
    )
    (old / "notes").write_text("mine")
    command, begun = ["train", kind, text_file, *KILLED[kind], "--overwrite", "--out"], time.time()
    assert main([*command, str(new)]) == 0
    seconds = time.time() - begun
    for _ in range(2):
        shutil.copytree(old, out)
        process = tiny.start(*command, out)
        with deadline(60):
            while not (out / LOCK).exists():
                time.sleep(0.0005)
        time.sleep(random.uniform(0, seconds))
        process.send_signal(number)
        told = process.communicate()[1]
        assert process.returncode in (0, -number if number == signal.SIGKILL else 130), told
        assert "Traceback" not in told
        assert "ignored" not in told
        RunFolder(out).settle()
        killed = process.returncode != 0
        if tiny.contents(out)["config.json"] == tiny.contents(old)["config.json"]:
            assert tiny.contents(out).items() >= tiny.contents(old).items()
            assert main([*command, str(out)]) == 0
            killed = False
        elif kind != "ngram" and progress(out) != progress(new):
            assert main(["train", kind, "--out", str(out), "--resume"]) == 0
            killed = False
        assert (out / "notes").read_text() == "mine"
        one, other = (minillm.load(folder).model.params for folder in (out, new))
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
        if kind == "lm":
            *of_model, closing = whole = tiny.metrics(new)
            assert "ngram_loss" in closing
            assert tiny.metrics(out) in ([whole, of_model] if killed else [whole])
        with held(out):  # the next start cleans up
            pass
        assert not list(out.glob(".*"))
        shutil.rmtree(out)
