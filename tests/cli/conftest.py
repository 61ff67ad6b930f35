"""What the tests of several verbs share."""

import pytest

from minillm.cli import main


@pytest.fixture
def fails(capsys):
    """Runs a command that must fail with one line, and returns the line."""

    def run(*command):
        capsys.readouterr()
        try:
            status = main([str(part) for part in command])
        except SystemExit as exit:
            status = exit.code
        output = capsys.readouterr()
        assert status == 2
        assert output.out == ""
        assert output.err.startswith("minillm: ")
        assert output.err.count("\n") == 1
        return output.err

    return run
