"""A verb that is declared in one file, and a row of VERBS, is known to the command line."""

import re
import sys

import pytest

from minillm import cli
from minillm.cli import main
from minillm.cli.arguments import VERBS

VERB = '''"""A verb."""

from minillm.cli.arguments import argument
from minillm.option import option


def holler(
    text: str = argument("the text", "TEXT"),
    twice: bool = option(False, "print it twice", rare=True),
) -> int:
    """Holler a text.

    Print TEXT in capital letters.

    examples:
      minillm holler "hello"
    """
    print(text.upper() * (1 + twice))
    return 0
'''


@pytest.fixture(autouse=True)
def holler(tmp_path, monkeypatch):
    (tmp_path / "holler.py").write_text(VERB)
    monkeypatch.setitem(VERBS, "holler", "Holler a text")
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    yield
    sys.modules.pop("minillm.cli.holler", None)


def test_it_runs(capsys):
    assert main(["holler", "hello"]) == 0
    assert capsys.readouterr().out == "HELLO\n"
    assert main(["holler", "hello", "--twice"]) == 0
    assert capsys.readouterr().out == "HELLOHELLO\n"


def test_it_is_listed_and_has_a_page(capsys):
    assert main([]) == 1
    page = capsys.readouterr().out
    assert re.search(r"\n  holler +Holler a text\n", page)
    with pytest.raises(SystemExit, match="0"):
        main(["holler", "--help"])
    page = capsys.readouterr().out
    assert page.startswith(
        "usage: minillm holler TEXT [options]\n\nHoller a text.\n\nPrint TEXT in capital letters.\n"
    )
    assert page.endswith(
        '\nexamples:\n  minillm holler "hello"\n\n'
        "more options, rarely needed: minillm holler --help-all\n"
    )
    with pytest.raises(SystemExit, match="0"):
        main(["holler", "--help-all"])
    assert "  --twice  print it twice\n" in capsys.readouterr().out
