"""One process at a time writes a run's folder."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from minillm.cli import main
from minillm.errors import InputError
from minillm.runs.folder import LOCK, held

fcntl = pytest.importorskip("fcntl")

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60

HOLDER = """\
import sys, time
from pathlib import Path
from minillm.runs.folder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder "run"."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_who_holds_it_is_told(tmp_path, other):
    who = rf"run: it is in use by process {other.pid} on \S+ since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$"
    with pytest.raises(InputError, match=who), held(tmp_path / "run"):
        pass
    with pytest.raises(InputError, match=who), held(tmp_path / "run", wait=0.02):
        pass


@pytest.mark.parametrize("kill", [True, False])
def test_it_ends_with_its_process(tmp_path, other, kill):
    if kill:
        other.kill()
    other.communicate()
    assert (tmp_path / "run" / LOCK).exists() == kill
    with held(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK).read_text().startswith(f"process {os.getpid()} ")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_it_waits(tmp_path, other):
    timer = threading.Timer(0.1, other.communicate)  # which lets it end
    timer.start()
    with held(tmp_path / "run", wait=20):
        pass
    timer.join()


def test_of_two_in_one_process_the_second_is_refused(tmp_path):
    with held(tmp_path), pytest.raises(InputError, match="in use"), held(tmp_path):
        pass


def test_folders_that_were_made_for_nothing_go(tmp_path):
    (tmp_path / "kept").mkdir()
    with held(tmp_path / "kept" / "a" / "b"):
        assert (tmp_path / "kept" / "a" / "b").is_dir()
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]
    with held(tmp_path / "kept" / "a" / "b"):
        (tmp_path / "kept" / "a" / "file").touch()
    assert {path.name for path in tmp_path.rglob("*")} == {"kept", "a", "file"}


def test_without_locks_it_goes_on(tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with held(tmp_path), held(tmp_path):
        pass


@pytest.mark.deep
@pytest.mark.parametrize(
    "options", ["train lm TEXT", "train lm TEXT --overwrite", "train lm --resume", "import VECTORS"]
)
def test_every_command_that_writes_a_run_holds_it(tmp_path, options, capsys):
    files = {"TEXT": TEXT, "VECTORS": "2 1\na 1\nb 2\n"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    out, sizes = ["--out", str(tmp_path / "run")], ["--steps", "2", "--hidden", "4"]
    if "--" in options:
        assert main(["train", "lm", str(tmp_path / "TEXT"), *out, *sizes]) == 0
    command = [str(tmp_path / word) if word in files else word for word in options.split()] + out
    command += ["--steps", "3"] * ("train" in command)
    capsys.readouterr()
    with held(tmp_path / "run"):
        assert main(command) == 2
        assert f"run: it is in use by process {os.getpid()} " in capsys.readouterr().err
    assert main(command) == 0


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="link"), held(tmp_path / "link"):
        pass


@pytest.mark.deep
def test_of_many_writers_one_writes(tmp_path):
    run, end = tmp_path / "a" / "run", time.monotonic() + 2
    inside, held_at_all, together = [], [], []

    def write():
        while time.monotonic() < end:
            with suppress(InputError, FileNotFoundError), held(run):
                inside.append(1)
                together.append(len(inside))
                time.sleep(0.001)
                held_at_all.append(run.is_dir())
                inside.pop()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) > 50
    assert set(together) == {1}
    assert all(held_at_all)
