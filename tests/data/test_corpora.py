import io
import sys

import pytest

from minillm.data import builtin_corpus, read_text, split_text
from minillm.errors import InputError


def test_files_are_joined_and_each_ends_its_last_line(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    (tmp_path / "b").write_bytes("drei \u20ac\n".encode())
    assert read_text([str(tmp_path / "a"), str(tmp_path / "b")]) == "one\ntwo\ndrei \u20ac\n"


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped\n")))
    assert read_text(["-"]) == "piped\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file"),
        (b"fine\nna\xefve\n", r", line 2: expected UTF-8 text, found the byte 0xef"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, complaint):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as error:
        read_text([str(path)])
    assert str(error.value).startswith(str(path))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_text([str(tmp_path)])


def test_the_built_in_corpus_is_half_a_megabyte_of_english():
    text = builtin_corpus()
    assert 300_000 < len(text) < 1_000_000
    assert text.count(" the ") > 1000


def test_a_python_without_the_corpus(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match="python-docs"):
        builtin_corpus()


def test_the_last_tenth_is_held_out():
    assert split_text("0123456789" * 2) == ("012345678901234567", "89")
