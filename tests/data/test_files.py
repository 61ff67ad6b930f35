"""Files are written whole or not at all."""

import os

import pytest

from minillm.data.files import replacing, write_file


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
