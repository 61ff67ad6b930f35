"""The reader's desk: files that end, loop or damage their process, progress that is damaged."""

import json
from pathlib import Path

import pytest
from few import few

from minillm.cli import main
from minillm.testing import own_process

RIGHT = """
    def backward(dy):
        return 2 * x * dy
    return x**2, backward
"""


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Check a file as the answer to the exercise "square"; return the status and the output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exercises").mkdir()

    def run(source):
        (tmp_path / "exercises/square.py").write_text(source)
        capsys.readouterr()
        status = main(["exercise", "square", "--check"])
        return status, capsys.readouterr().out

    return run


def solved():
    return json.loads(Path("exercises/progress.json").read_text())["square"]["solved"]


@pytest.mark.parametrize(
    ("source", "message"),
    few(
        [
            ("import sys\nsys.exit(0)", "line 2, sys.exit(0): SystemExit: 0"),
            ("import os\nos._exit(0)", "the code ended its process (exit status 0)"),
            ("import sys\ndef square(x):\n    sys.exit(0)", "line 3, sys.exit(0): SystemExit: 0"),
            (
                "import sys\ndef square(x):\n    return x**2, lambda dy: sys.exit(0)",
                "SystemExit: 0",
            ),
            ("import os\ndef square(x):\n    os._exit(0)", "the code ended its process"),
            ("def square(x):\n    raise BaseException('b')", "BaseException: b"),
            ("def square(x):\n    raise GeneratorExit", "raise GeneratorExit: GeneratorExit"),
            ("def square(x):\n    raise KeyboardInterrupt", "the code raised KeyboardInterrupt"),
            (
                "class E(Exception):\n    def __str__(self): raise self\n"
                "def square(x):\n    raise E",
                "line 4, raise E: E: (its text raises an exception)",
            ),
            ("async def square(x):\n    pass", "expected the output and a function backward"),
            ("def square(x:\n", "line 1: SyntaxError"),
            ("import nothing_of_this_name", "line 1, import nothing_of_this_name: ModuleNotFound"),
            (
                "import numpy as np\nnp.isclose = lambda a, *b, **c: np.ones(np.shape(a), bool)\n"
                "np.abs = None\ndef square(x):\n    return x, lambda dy: dy\n",
                "square: y is wrong",
            ),
            (
                "import sys\nfrom minillm.exercises import answering\n"
                "answering.check_gradients = lambda *a, **k: 0\n"
                "def square(x):\n    return x**2, lambda dy: x * dy\n",
                "square: the gradient dx is wrong",
            ),
        ]
    ),
)
def test_a_file_that_is_no_answer_is_told_as_such(check, source, message):
    status, report = check(source + "\n")
    assert status == 1
    assert report.startswith("square: ")
    assert message in report
    assert "hint: " not in report or "is wrong" in report
    assert not solved()


def test_what_an_answer_does_to_its_process_does_not_matter(check):
    status, report = check(
        "import os, sys, threading, time\n\nprint('a remark')\n"
        "def square(x):\n"
        "    threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "    sys.stdout.close()\n"
        "    os.chdir('/')\n" + RIGHT
    )
    assert (status, report) == (0, "square: right, in 1 case\n")
    assert solved()


def test_what_an_answer_prints_is_bounded(check, capsys, monkeypatch):
    monkeypatch.setattr(own_process, "_SHOWN", 100)
    read, err = capsys.readouterr, []
    monkeypatch.setattr(capsys, "readouterr", lambda: err.append(read()) or err[-1])
    status, report = check("print('a remark ' * 10**6)\ndef square(x):" + RIGHT)
    assert (status, report) == (0, "square: right, in 1 case\n")
    assert err[-1].err.startswith("a remark a remark")
    assert err[-1].err.endswith("\n(your code printed 8,999,901 bytes more, which are not shown)\n")
    assert len(err[-1].err) < 200


@pytest.mark.deep
def test_an_endless_loop_is_stopped(check, monkeypatch):
    monkeypatch.setattr(own_process, "SECONDS", 3.0)
    status, report = check("def square(x):\n    while True: pass\n")
    assert status == 1
    assert report == "square: no answer after 3 seconds: an endless loop?\n"


def test_a_file_without_the_function_is_no_attempt(check, capsys):
    assert main(["exercise", "square", "--check"]) == 2
    Path("exercises/square.py").write_text("def sqare(x): pass\n")
    assert main(["exercise", "square", "--check"]) == 2
    assert "expected a function square, found none" in capsys.readouterr().err
    assert not Path("exercises/progress.json").exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"linear": {}}',
        '{"linear": {"attempts": null, "solved": false, "failed": ""}}',
        '{"linear": {"attempts": 1, "solved": false, "failed": [1]}}',
        '{"attempts": null}',
        "[" * 100000,
        "text",
        "\udcff",
    ],
)
def test_damaged_progress_is_one_line(check, capsys, text):
    path = Path("exercises/progress.json")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    Path("exercises/square.py").write_text("def square(x):" + RIGHT)
    for command in (["exercise"], ["exercise", "square", "--check"]):
        assert main(command) == 2
        message = capsys.readouterr().err
        assert message.startswith("minillm: exercises/progress.json: expected the progress of ")
        assert message.count("\n") == 1
