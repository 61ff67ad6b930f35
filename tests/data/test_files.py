"""Files are written whole or not at all."""

import errno
import json
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from minillm.data.files import new_folder, read_json, remove_temporaries, replacing, write_file
from minillm.errors import InputError


def test_it_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))
        )
    write_file(tmp_path / "file", b"data")
    assert calls == ["fsync", "replace"]


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


def test_the_file_keeps_its_mode(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"one")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    write_file(path, b"two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["é" * 125, "x" * 255])
def test_the_longest_names_work_and_an_error_names_the_file(tmp_path, name):
    write_file(str(tmp_path / name), b"data")
    assert (tmp_path / name).read_bytes() == b"data"
    for path, code in (
        (tmp_path / (name + "x" * 9), errno.ENAMETOOLONG),
        (tmp_path / "missing" / name, errno.ENOENT),
    ):
        with pytest.raises(OSError, match=re.escape(os.strerror(code))) as caught:
            write_file(path, b"data")
        assert (caught.value.errno, caught.value.filename) == (code, str(path))


def test_the_old_file_is_there_until_the_end_and_writers_do_not_meet(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"before")
    with replacing(path) as one:
        with suppress(KeyboardInterrupt), replacing(path) as stopped:
            stopped.write(b"half")
            raise KeyboardInterrupt
        with replacing(path) as two:
            two.write(b"two")
            assert path.read_bytes() == b"before"
        one.write(b"one")
        assert path.read_bytes() == b"two"
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_of_a_killed_writer_is_removed(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_file(path, b"whole")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *args, **options: None)
        with suppress(KeyboardInterrupt), replacing(path):
            raise KeyboardInterrupt
    assert len(list(tmp_path.iterdir())) == 2
    remove_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_names_that_no_file_can_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    os.mkfifo("pipe")
    for name, found in (
        ("", "an empty name"),
        *((name, "a folder") for name in (".", "..", "folder")),
        *((name, "a pipe or a device") for name in ("pipe", "/dev/null")),
    ):
        with pytest.raises(InputError, match=f"found {found}"):
            write_file(name, b"data")
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_two_new_folders_of_one_name_do_not_disturb_each_other(tmp_path):
    """Nor does one that comes to nothing disturb a folder that it would overwrite."""
    for overwrite in (False, True):
        with new_folder(tmp_path / "new", overwrite) as one:
            (one / "file").write_text("one")
            with suppress(RuntimeError), new_folder(tmp_path / "new", overwrite) as other:
                assert not list(other.iterdir())
                raise RuntimeError
        assert sorted(tmp_path.rglob("*")) == [tmp_path / "new", tmp_path / "new/file"]


@pytest.mark.parametrize("entries", [{"a": 1}, ["a"]])
def test_json_with_a_byte_order_mark_is_read(tmp_path, entries):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(entries), encoding="utf-8-sig")
    assert read_json(path, kind=type(entries)) == entries
