"""Files are written whole or not at all."""

import errno
import json
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from minillm.data.files import (
    from_json,
    new_folder,
    read_json,
    remove_temporaries,
    replacing,
    write_file,
)
from minillm.data.lines import read_columns
from minillm.errors import InputError


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"one")
    write_file(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_in_the_middle_changes_nothing(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"before")

    class Stop(BaseException):
        pass

    def stop_in_the_middle():
        with replacing(path) as file:
            file.write(b"half")
            raise Stop

    with pytest.raises(Stop):
        stop_in_the_middle()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_end_the_old_file_is_there(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"before")
    with replacing(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"


def test_it_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))
        )
    write_file(tmp_path / "file", b"data")
    assert calls == ["fsync", "replace"]


def test_an_error_names_the_file(tmp_path):
    path = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_file(path, b"data")
    assert caught.value.filename == str(path)


def test_a_symbolic_link_stays_one(tmp_path):
    link, target = tmp_path / "link", tmp_path / "folder" / "target"
    target.parent.mkdir()
    link.symlink_to("folder/target")
    for data in (b"one", b"two"):  # the target is missing, then there
        write_file(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert list(target.parent.iterdir()) == [target]
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links") as caught:
        write_file(loop, b"data")
    assert caught.value.filename == str(loop)
    assert loop.is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_pipes_and_devices_are_refused_and_stay(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(InputError, match="expected a file, found a pipe or a device"):
            write_file(path, b"data")
        assert not stat.S_ISREG(path.stat().st_mode)


def test_the_file_keeps_its_mode(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"one")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    write_file(path, b"two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["x" * 250, "é" * 125, "x" * 255])
def test_the_longest_names_work(tmp_path, name):
    write_file(tmp_path / name, b"data")
    assert (tmp_path / name).read_bytes() == b"data"
    too_long = tmp_path / (name + "x" * 9)
    with pytest.raises(OSError, match="too long") as caught:
        write_file(too_long, b"data")
    assert caught.value.errno == errno.ENAMETOOLONG
    assert caught.value.filename == str(too_long)


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as one:
        with replacing(path) as two:
            two.write(b"two")
        one.write(b"one")
        assert path.read_bytes() == b"two"
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file_and_its_temporary_file_is_removed(tmp_path):
    code = """
import os, signal, sys
from minillm.data.files import replacing
with replacing(sys.argv[1]) as file:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "file"
    write_file(path, b"whole")
    subprocess.run([sys.executable, "-c", code, path])
    assert len(list(tmp_path.iterdir())) == 2
    remove_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("", "an empty name"), (".", "a folder"), ("..", "a folder"), ("folder", "a folder")],
)
def test_names_that_no_file_can_have(tmp_path, monkeypatch, name, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"found {complaint}"):
        write_file(name, b"data")


def test_two_new_folders_of_one_name_do_not_disturb_each_other(tmp_path):
    with new_folder(tmp_path / "new") as one:
        (one / "file").write_text("one")
        with suppress(RuntimeError), new_folder(tmp_path / "new") as other:
            assert not list(other.iterdir())
            raise RuntimeError
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "new",
        "new/file",
    ]


@pytest.mark.parametrize("entries", ['{"a": 1}', '["a"]'])
def test_json_with_a_byte_order_mark_is_read(tmp_path, entries):
    path = tmp_path / "x.json"
    path.write_text(entries, encoding="utf-8-sig")
    expected = json.loads(entries)
    assert read_json(path, kind=type(expected)) == expected


@pytest.mark.parametrize("text", ["a\tb\nc\td\n", '{"x": "a", "y": "b"}\n{"x": "c", "y": "d"}\n'])
def test_lines_with_a_byte_order_mark_are_read(tmp_path, text):
    path = tmp_path / ("x.jsonl" if text.startswith("{") else "x.tsv")
    path.write_text(text, encoding="utf-8-sig")
    assert [row for row, _ in read_columns(path, "x", "y")] == [["a", "b"], ["c", "d"]]
    if path.suffix == ".jsonl":  # as the lines of a run are read
        first = path.read_bytes().splitlines()[0]
        assert from_json(first, "here", dict) == {"x": "a", "y": "b"}
