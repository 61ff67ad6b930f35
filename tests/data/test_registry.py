"""The names of built-in sets: which they are, what they open, what is a path."""

import io
import sys

import pytest

from minillm.data import builtin_corpus, read_text, registry
from minillm.data.labelled import labels_of
from minillm.errors import InputError


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cmudict", "numbers-en-fr", "numbers-de-pt_BR", "docstrings"):
        assert registry.built_in(name).kind == "pairs"
        assert registry.absolute(name) == name
    assert registry.built_in("digits").kind == "images"
    assert registry.built_in("python-docs").kind == "text"
    for path in ("pairs.tsv", "cmudict.tsv", "./cmudict", "numbers-en", "numbers-en/a-b", "Digits"):
        assert registry.built_in(path) is None
        assert registry.absolute(path) == str((tmp_path / path).resolve())
    assert registry.absolute("-") == "-"


def test_every_set_is_named_among_those_of_its_kind():
    assert {entry.kind for entry in registry.BUILT_IN} == {"text", "pairs", "images"}
    for entry in registry.BUILT_IN:
        assert entry.name in registry.names_of(entry.kind).split(", ")


def test_units_and_tasks():
    assert registry.set_of_pairs("cmudict").units == ("character", "token")
    assert registry.set_of_pairs("numbers-en-fr").units == ("word", "word")
    assert registry.set_of_pairs("/a/file.tsv").units == ("word", "word")
    tasks = {"cmudict": "pronunciation", "docstrings": "summary", "file.tsv": "translation"}
    assert {name: registry.set_of_pairs(name).task for name in tasks} == tasks


def test_texts_may_be_built_in(tmp_path):
    (tmp_path / "a").write_text("one\n")
    names = [str(tmp_path / "a"), "python-docs"]
    expected = "one\n" + builtin_corpus()
    assert read_text(names) == expected
    for nothing in ([], ()):
        assert read_text(nothing) == builtin_corpus()


@pytest.mark.deep
def test_pairs_by_name_and_by_path(tmp_path):
    pytest.importorskip("num2words")
    numbers = registry.open_data("pairs", "numbers-en-fr")
    parts = ("training", "validation", "test")
    assert any(("seven", "sept") in numbers[part] for part in parts)
    file, other = tmp_path / "pairs.tsv", tmp_path / "other.tsv"
    file.write_text("a\tb\n" * 10)
    other.write_text("c\td\n")
    assert registry.open_data("pairs", str(file))["validation"] == [("a", "b")]
    assert registry.open_data("pairs", str(file), str(other))["validation"] == [("c", "d")]


def test_labelled_texts_and_images(tmp_path):
    file = tmp_path / "texts.tsv"
    file.write_text("".join(f"{label}\ttext\n" for label in "ab" * 10))
    assert labels_of(registry.open_data("labelled", str(file))) == ["a", "b"]
    pytest.importorskip("sklearn")
    digits = registry.open_data("images", "digits")
    assert digits.labels[7] == "7"


@pytest.mark.parametrize(
    ("open_it", "message"),
    [
        (
            lambda: registry.open_data("pairs", "digits"),
            "digits: expected pairs, found a built-in set",
        ),
        (lambda: registry.open_data("pairs", "-"), "standard input: expected a file"),
        (
            lambda: registry.open_data("pairs", "none.tsv"),
            "none.tsv: there is no such file",
        ),
        (lambda: registry.open_data("labelled", "cmudict"), "cmudict: expected labelled, found"),
        (
            lambda: registry.open_data("labelled", "-"),
            "standard input: expected a file, because labelled are",
        ),
        (lambda: registry.open_data("questions", "cmudict"), "cmudict: expected questions, found"),
        (lambda: registry.open_data("images", "cmudict"), "cmudict: expected images, found"),
        (lambda: registry.open_data("images", "faces"), r"a set of images \(digits\), found faces"),
    ],
)
def test_unsuitable_names_are_refused(open_it, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\tb\n")))
    with pytest.raises(InputError, match=message):
        open_it()


def test_a_built_in_set_has_its_own_validation_part(tmp_path):
    pytest.importorskip("num2words")
    with pytest.raises(InputError, match=r"^validation: expected none, as numbers-en-fr has"):
        registry.open_data("pairs", "numbers-en-fr", "other.tsv")


def test_the_source_of_the_standard_library(monkeypatch, tmp_path):
    for name, content in [
        ("b.py", b"b = 2"),
        ("a.py", b"a = 1\n"),
        ("c.py", b"\xff"),
        ("a.txt", b"no Python"),
        ("test/x.py", b"x"),
        ("site-packages/y.py", b"y"),
        ("sub/d.py", b"d = 4\r\n"),
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    expected = "a = 1\n\nb = 2\n\nd = 4\n"
    assert read_text(["python-source"]) == expected
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path / "none")})
    with pytest.raises(InputError, match=r"python-source: there are no \.py files in"):
        read_text(["python-source"])
