"""The progress of a training on standard error, and its units."""

import io
import sys

import pytest

from minillm.cli import main
from minillm.training import Task
from minillm.training.progress import ProgressDisplay, minutes_and_seconds, progress_bar


class Measured(Task):
    measures = {"accuracy": 0.25}  # noqa: RUF012


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_counts_in_the_unit_that_is_trained_on(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with ProgressDisplay(0.0, False, "image") as display:
        display.update(0.1, 1, 2.0, 100, 1.0)
        display.update(0.2, 1002, 2.0, 5100, 2.0)
        display.validated(1002, 1.5, Measured())
    shown = terminal.getvalue()
    assert "step 1,002  loss 2.000  5,000 images/s  0:08 left" in shown
    line = "step 1,002: training 2.000, validation 1.500, accuracy 0.250, 5,000 images/s\n"
    assert line in shown
    assert "token" not in shown


def test_without_a_terminal_there_are_lines_only(monkeypatch):
    monkeypatch.setattr(sys, "stderr", plain := io.StringIO())
    with ProgressDisplay(0.0, False, "word", "{:,} words") as display:
        display.update(0.5, 1000, 2.0, 1000, 1.0)
        display.line(1000, {"loss": 2.0})
    assert plain.getvalue() == "1,000 words: loss 2.000\n"
    with ProgressDisplay(0.0, True) as display:
        display.validated(1, 1.0, Measured())
    assert plain.getvalue().count("\n") == 1


def test_items_pass_through_a_bar_that_only_a_terminal_shows(monkeypatch):
    for file, quiet in ((io.StringIO(), False), (Terminal(), True), (Terminal(), False)):
        monkeypatch.setattr(sys, "stderr", file)
        assert list(progress_bar("abc", "copies", unit=" texts", quiet=quiet)) == ["a", "b", "c"]
        assert ("copies" in file.getvalue()) == (file.isatty() and not quiet)


def test_times():
    assert minutes_and_seconds(187) == "3:07"
    assert minutes_and_seconds(3727) == "1:02:07"


PAIRS = "".join(f"a{'b' * (k % 5)}\t{'c' * (1 + k % 4)}\n" for k in range(60))
TEXTS = "".join(f"{'good fine' if k % 2 else 'bad rain'}\t{k}\n" for k in range(60))
SMALL = ["--steps", "3", "--hidden", "4", "--batch", "4"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lm", [*SMALL, "--window", "4", "--unit", "word"]),
        ("word2vec", ["--epochs", "3", "--minimum-count", "1"]),
    ],
)
def test_a_kind_counts_in_its_unit(kind, options, tmp_path, capsys):
    file = tmp_path / "text"
    file.write_text(TEXTS * 3)
    assert main(["train", kind, str(file), "--out", str(tmp_path / "run"), *options]) == 0
    shown = capsys.readouterr().err
    assert " words/s\n" in shown or " words: loss " in shown
    assert "tokens/s" not in shown


def test_pairs_are_counted_not_their_tokens(tmp_path, monkeypatch, capsys):
    """Three batches of four pairs, whatever their lengths."""
    file = tmp_path / "pairs"
    file.write_text(PAIRS)
    counted = []
    update = ProgressDisplay.update
    monkeypatch.setattr(
        ProgressDisplay,
        "update",
        lambda self, *values: counted.append(values[3]) or update(self, *values),
    )
    options = ["--out", str(tmp_path / "run"), *SMALL, "--accumulate", "2"]
    assert main(["train", "seq2seq", str(file), *options]) == 0
    assert counted == [8, 16, 24]
    assert " pairs/s\n" in capsys.readouterr().err
