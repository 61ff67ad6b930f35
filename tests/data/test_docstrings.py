"""Functions and their summaries: what is taken from a source, and how it is split."""

import ast
import sysconfig
from textwrap import dedent

import pytest

from minillm.data.docstrings import docstrings, parsed_modules, summarised_definitions
from minillm.errors import InputError

EXAMPLE = '''
class TarReader(Reader):
    """Read a tar archive, member by member."""

    def get_size(self, HTTPError=None):
        """Return the *size* of a :class:`file`,
        in bytes.  Raise ``OSError`` if there is
        none.

        >>> get_size()
        3
        """
        # Ask the system.
        return os.stat(self.path).st_size or 42


if True:
    pass
else:

    async def total(
        values,
    ):
        """Sum the values of a list

        Parameters
        ----------
        values : list
        """
        return sum(value for value in values if value)
'''


def pairs_of(source):
    source = dedent(source)
    return list(summarised_definitions(source, ast.parse(source)))


def test_the_source_as_words_and_the_first_sentence():
    method = "Ask the system. return os stat self path st size or 42."
    assert pairs_of(EXAMPLE) == [
        (
            f"class Tar Reader Reader. def get size self HTTP Error None. {method}",
            "Read a tar archive, member by member.",
        ),
        (
            "Tar Reader def get size self HTTP Error None. Raise OSError if there is none. "
            + method,
            "Return the size of a file, in bytes.",
        ),
        (
            "async def total values. return sum value for value in values if value.",
            "Sum the values of a list.",
        ),
    ]


def test_what_is_no_sentence_of_english_is_left_out():
    for sentence, count in (
        ("Too short.", 0),
        ("Sum the numbers of " + "very " * 27 + "many lists.", 0),
        ("Call get_code for all of them.", 0),
        ("Read a TarFile from the disk.", 0),
        ("Evaluate f(x) for an array.", 0),
        ("Same as a <= b, if both are known.", 0),
        ("values -- the values to be added", 0),
        ("Sum both values, if there are two (or more).", 1),
    ):
        source = f'def total(a, b):\n    """{sentence}"""\n    return sum((a, b)) if a else b\n'
        assert len(pairs_of(source)) == count


def test_a_short_source_is_left_out_and_a_long_one_is_cut():
    short = 'def f(x):\n    """Sum the values."""\n    return x\n'
    assert pairs_of(short) == []
    ((source, _),) = pairs_of(short + "    y = a + b\n" * 100)
    assert len(source.split()) == 100
    assert source.startswith("def f x. return x. y a b. y")
    of_one_line = 'def f(a, b, c, d): """Sum all of the values.""", a, b, c, d, a, b, c'
    assert pairs_of(of_one_line) == []


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of 30 modules, and no NumPy."""
    for number in range(30):
        name = "yz"[number // 26] + chr(97 + number % 26)
        own, body = f"Sum the values of {name}", f"return a + b + c - {name}"
        functions = [
            f'def f(a, b, c):\n    """{summary}."""\n    {body}\n'
            for summary in (own, f"Subtract {name} once more", "The same in every  module")
        ]
        (tmp_path / f"{name}.py").write_text("".join(functions))
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\n# \xe9\n")
    (tmp_path / "unreadable.py").write_bytes(b"# \xe9\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_f.py").write_text(EXAMPLE)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    monkeypatch.setattr("minillm.data.python_texts.find_spec", lambda name: None)
    return tmp_path


def test_a_module_is_in_one_part_and_no_summary_comes_twice(library):
    data = docstrings()
    parts = {part: data[part] for part in ("training", "validation", "test")}
    assert len(parts["validation"]) in (6, 7)
    assert len(parts["test"]) in (6, 7)
    modules = [{source.split()[-1] for source, _ in pairs} for pairs in parts.values()]
    assert len(set.union(*modules)) == sum(map(len, modules)) == 30
    summaries = [summary for pairs in parts.values() for _, summary in pairs]
    assert len(summaries) == len(set(summaries)) == 61
    assert {"Sum the values of ya.", "The same in every module."} <= set(summaries)


def test_modules_that_cannot_be_read_are_left_out(library):
    names = [name for name, _, _ in parsed_modules("numpy")]
    assert len(names) == 31
    assert "latin" in names
    for path in library.glob("*.py"):
        path.unlink()
    with pytest.raises(InputError, match=r"^docstrings: this Python has no source files: expected"):
        docstrings()
