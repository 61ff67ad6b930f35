"""Fixtures of several verbs: runs that are trained once, what is typed, and what is printed."""

import io
import json
import sys

import pytest
import tiny

from minillm import plots
from minillm.cli import main


@pytest.fixture(autouse=True, scope="session")
def pictures():
    """Pictures of no contents, which take no time: real ones are tested in tests/test_plots.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_png", lambda figure: b"\x89PNG" + bytes(200))
        yield


@pytest.fixture
def fails(capsys):
    """Run a command that must fail with one line, and return the line."""

    def run(*command, program=None):
        capsys.readouterr()
        try:
            status = main([str(part) for part in command], program)
        except SystemExit as exit:
            status = exit.code
        output = capsys.readouterr()
        assert status == 2
        assert output.out == ""
        assert output.err.startswith("minillm: ")
        assert output.err.count("\n") == 1
        return output.err

    return run


@pytest.fixture
def prints(capsys):
    """Run a command that must succeed, and return its output; ``noted`` has its error output."""

    def run(*command, status=0):
        capsys.readouterr()
        assert main([str(part) for part in command]) == status
        output = capsys.readouterr()
        run.noted = output.err
        return output.out

    return run


@pytest.fixture
def evaluated(prints):
    """The figures of ``eval --json``."""
    return lambda *arguments: json.loads(prints("eval", *arguments, "--json"))


@pytest.fixture
def typed(monkeypatch):
    """Sets the text, or the bytes, that come from standard input."""

    def given(text):
        data = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return given


# --- to be read, not to be changed ------------------------------------------------------


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """The text of :mod:`tiny`."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(tiny.TEXT)
    return str(path)


@pytest.fixture(scope="session")
def lm(runs):
    return runs("lm")


@pytest.fixture(scope="session")
def ngram(runs):
    return runs("ngram")
